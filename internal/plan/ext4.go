package plan

// HasInodes reports whether files in a carrier of the kind have the inodes that
// they will have on the target.
func (k Kind) HasInodes() bool { return k == Ext4 }

// checkExt4 returns a *ConflictError for what does not go together with the image of
// a file system, which is replaced if no other file is named.
func (p Plan) checkExt4(c Carrier) error {
	switch {
	case c.Name == "":
		return &ConflictError{"ext4: names no image", "ext4:FILE is the file system in the image FILE, ext4:FILE@p2 that in its second partition; a file of this name is written ./ext4:"}
	case len(p.Paths) > 1, p.FilesFrom != "":
		return &ConflictError{"an image is all that a run works on", "name it alone, once for each run"}
	case p.CrossFilesystems:
		return &ConflictError{"--cross-filesystems is of no use with an image", "leave it out"}
	case p.LiftImmutable:
		return &ConflictError{"--immutable is of no use with an image", "leave it out"}
	case p.Compression != "":
		return &ConflictError{"--compress is of no use with an image", "leave it out"}
	case p.UndoLog != "":
		return &ConflictError{"there is no undo log of an image, which is replaced as a whole", "leave out --undo-log; --output FILE leaves the old image as it is"}
	case p.Shard.IsGiven() && p.Writes():
		return &ConflictError{"an image is written whole, and --shard takes a part of it", "leave out --shard; verify, check and --labels-to take it"}
	case c.IsStd():
		return &ConflictError{"an image is read by offset, and not from standard input", "name a file"}
	case p.Output != "" && p.InPlace:
		return &ConflictError{"--output and --in-place contradict each other", "leave out one of them"}
	case p.Output == "-":
		return &ConflictError{"an image is written by offset, and not to standard output", "--output FILE"}
	}
	return p.checkOutput(c)
}
