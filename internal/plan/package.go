package plan

import "slices"

// Packages returns the names of the packages that the run is on, and of directories
// of them, and false if it is on none.
func (s *Selection) Packages() (names []string, ok bool) {
	for _, path := range s.Paths {
		if c, isCarrier := CarrierOf(path); isCarrier && c.Kind == RPM {
			names, ok = append(names, c.Name), true
		}
	}
	return names, ok
}

// checkPackages returns a *ConflictError for what does not go together with RPM
// packages, if the run is on any.
func (p Plan) checkPackages() error {
	names, ok := p.Packages()
	switch {
	case !ok:
		return nil
	case len(names) < len(p.Paths):
		return &ConflictError{"packages and other PATHs are named", "rpm: goes before each package, or directory of them, and other trees are for a run of their own"}
	case slices.Contains(names, ""):
		return &ConflictError{"rpm: names no package", "rpm:FILE is the package in FILE, rpm:DIR are all in DIR; a file of this name is written ./rpm:"}
	case slices.Contains(names, "-"):
		return &ConflictError{"a package is no stream: what is changed stands before what is read", "rpm:FILE is the package in FILE; ./- is a file of this name"}
	case p.Compression != "":
		return &ConflictError{"--compress is of no use with a package: its payload is signed as it is", "leave it out"}
	case p.Namespace == "user":
		return &ConflictError{"a package holds no attributes but security.ima", "leave out --namespace"}
	}
	return nil
}
