package oci

import (
	"errors"
	"fmt"
	"strings"
)

// A BlobError says what is wrong with a part of an image.
type BlobError struct {
	Image string // its path
	What  string // layer, manifest, index, configuration, file
	Blob  string // digest, or name in the archive
	Err   error
}

func (e *BlobError) Error() string {
	return fmt.Sprintf("%s: %s %s: %v", e.Image, e.What, e.Blob, e.Err)
}
func (e *BlobError) Unwrap() error { return e.Err }

// An ImageError says why an image cannot be read.
type ImageError struct {
	Image string
	Err   error
}

func (e *ImageError) Error() string {
	if e.Image == "-" {
		return "reading the image: " + e.Err.Error()
	}
	return e.Image + ": " + e.Err.Error()
}
func (e *ImageError) Unwrap() error { return e.Err }

// Errors of parts of images.
var (
	// ErrMissing says that a part is not there.
	ErrMissing = errors.New("it is missing")
	// ErrNoImage says that there is none.
	ErrNoImage = errors.New("there is no image in it, of which layers could be labelled")
	// ErrNoLayout says that something is no image of the kind that was named.
	ErrNoLayout = errors.New("this is no image layout: it has no " + indexFile)
	// ErrNoDocker says that an archive is not one of docker save.
	ErrNoDocker = errors.New("this is no archive of docker save: it has no " + dockerFile)
	// ErrEncrypted says that a layer cannot be read.
	ErrEncrypted = errors.New("it is encrypted")
)

// A DigestError says that a part is not what its digest says. Unpacked says that it
// is what was unpacked that has another one.
type DigestError struct {
	Says, Is string
	Unpacked bool
}

func (e *DigestError) Error() string {
	if e.Unpacked {
		return fmt.Sprintf("unpacked, its digest is %s, and the configuration says %s", e.Is, e.Says)
	}
	return fmt.Sprintf("its digest is %s, and it should be %s", e.Is, e.Says)
}

// A SizeError says that a part is of another size than is said of it.
type SizeError struct{ Says, Is int64 }

func (e *SizeError) Error() string {
	return fmt.Sprintf("it has %d bytes, and should have %d", e.Is, e.Says)
}

// A ForeignError says that a layer's content lies elsewhere.
type ForeignError struct{ URL string }

func (e *ForeignError) Error() string {
	return "its content is to be fetched from " + e.URL + ", and a labelled one could not be put there"
}

// A TypeError says that a document is not of the type that is said of it.
type TypeError struct{ Says, Is string }

func (e *TypeError) Error() string {
	return fmt.Sprintf("it says that it is of the type %q, and should be %q", e.Is, e.Says)
}

// A CountError says that the numbers of layers in a manifest and in a configuration
// differ.
type CountError struct{ Manifest, Config int }

func (e *CountError) Error() string {
	return fmt.Sprintf("it has %d layers, and its configuration %d", e.Manifest, e.Config)
}

// A LimitError says that something is larger than is read.
type LimitError struct {
	What    string
	Is, Max int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: %d, and at most %d are read", e.What, e.Is, e.Max)
}

// A TagError says that a tag, or no tag, does not name one image. Tags are those
// that there are.
type TagError struct {
	Tag  string // "" for none
	Many bool   // images are named by it
	Tags []string
}

func (e *TagError) Error() string {
	const most = 20
	tags := "none has a tag"
	if n := len(e.Tags); n > most {
		tags = fmt.Sprintf("there are %s and %d more", strings.Join(e.Tags[:most], ", "), n-most)
	} else if n > 0 {
		tags = "there are " + strings.Join(e.Tags, ", ")
	}
	switch {
	case e.Tag == "":
		return "there are several images, and no tag says which one is meant: " + tags
	case e.Many:
		return fmt.Sprintf("there are several images with the tag %q", e.Tag)
	}
	return fmt.Sprintf("there is no image with the tag %q: %s", e.Tag, tags)
}
