package reason

// What is to be said of RPM packages and their files.
const (
	Ghost         Code = "ghost"          // a file that a package does not have the content of
	SourcePackage Code = "source-package" // whose files are never appraised
	OddPackage    Code = "odd-package"    // that rpm did not lay out

	NoVendorLabel  Code = "no-vendor-signature" // in a database of packages
	ChangedContent Code = "changed-content"     // since the label was made that there is
)
