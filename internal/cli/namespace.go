package cli

import "imaseal/internal/tree"

// userNamespace keeps what is written where no privilege is needed. What EVM covers
// besides is what the file really has.
var userNamespace = tree.Namespace{From: "security.", To: "user.", Hidden: []string{"ima", "evm"}}

func (s *session) isRenamed() bool { return s.plan.Namespace == "user" }

// kept returns the name under which an attribute is kept.
func (s *session) kept(name string) string {
	if s.isRenamed() {
		return userNamespace.Kept(name)
	}
	return name
}
