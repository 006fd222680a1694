// Package selinux says which SELinux context a file gets: it reads a policy's
// file_contexts and answers for a path and a type of file what
// selabel_lookup(3), setfiles and matchpathcon answer.
//
// # Files
//
// A policy keeps them in /etc/selinux/NAME/contexts/files. Five make one
// database, of which only the first has to be there (libselinux,
// src/label_file.c init()):
//
//	file_contexts            what the policy says
//	file_contexts.homedirs   home directories, made by genhomedircon
//	file_contexts.local      what semanage fcontext added
//	file_contexts.subs       path aliases of the administrator
//	file_contexts.subs_dist  path aliases of the distribution
//
// Files with .bin behind the name are compiled for the machine's PCRE library,
// hold the same, and are not read.
//
// # Lines
//
// Lines of the first three have two or three fields, separated by what isspace(3)
// takes for blanks; more fields are ignored, and so are empty lines and lines
// whose first character is # (src/label_support.c read_spec_entries()):
//
//	PATTERN [TYPE] CONTEXT
//
// TYPE is -- for regular files, or -d -c -b -s -p -l; without it the line is for
// all types. CONTEXT is user:role:type, with :range where the policy has levels,
// or <<none>>: such files keep what they have. All fields are ASCII.
//
// PATTERN is a regular expression of PCRE2, as bytes, with the flag DOTALL: a dot
// matches newlines too. A ^ is put before it and a $ behind (compile_regex()),
// nothing else, so that in /a|/b the first branch is free at its end. The $ also
// matches before a newline at the very end of the path.
//
// A pattern without any of .^$?*+|[({])} is no expression but the path itself;
// characters may be escaped by a backslash, those and - _ , (regex_has_meta_chars()).
//
// # Which line decides
//
// Of the lines whose pattern and type match, patterns that are paths go before
// expressions, and in each of the two groups the last line decides, where the
// files count as one in the order above (sort_specs() and lookup_all() of
// libselinux to 3.7). Policies are sorted so that this is the most specific one.
//
// An expression is only tried on paths that lie in its leading directories, as
// far as they are written without special characters, up to three. This is a
// matter of speed, but for expressions with | outside of parentheses or with a
// slash that is repeated, where it is one of meaning (insert_spec(),
// SPEC_NODE_MAX_DEPTH; one directory to 3.7).
//
// Since 3.8 libselinux sorts differently inside, and answers the same for the
// policies of distributions, but in these corners. A path that is there twice
// in one file, for all types and for one: 3.8 takes the line with the type, 3.9
// and later the first. An expression with <<none>> for a directory that comes
// before one for a directory above: the former decides. A pattern that is a path
// also matched that with a newline behind it to 3.7; not here.
//
// # Paths
//
// A path loses repeated slashes and one at its end. Then the first alias that is
// the path or a directory above it is put in its place, once for .subs and once
// for .subs_dist; later lines go first (selabel_sub_key()).
//
//	/run/lock /var/lock        /run/lock/a is looked up as /var/lock/a
//
// Expressions are those of package pcre, which package regexp matches. What
// cannot be translated is a *pcre.Error: nothing is compiled that would mean
// something else. Policies use literals, dots, classes, groups, alternatives and
// quantifiers, and all of these do.
package selinux
