package advice

import (
	"errors"

	"imaseal/internal/reason"
	"imaseal/internal/tree/oci"
	"imaseal/internal/tree/oci/document"
	"imaseal/internal/tree/oci/flat"
)

// ofImage is about container images.
func ofImage(err error) (reason.Code, string) {
	switch {
	case is[*oci.TagError](err):
		return "image-tag", "oci:DIR:TAG names one of them; oci-archive:FILE:TAG and docker-archive:FILE:TAG likewise"
	case errors.Is(err, oci.ErrNoLayout):
		return "no-image", "oci:DIR is an image layout (skopeo copy, umoci, buildah push oci:), oci-archive:FILE an archive of one; docker-archive:FILE is what docker save writes"
	case errors.Is(err, oci.ErrNoDocker):
		return "no-image", "oci-archive:FILE is an archive of an image layout"
	case errors.Is(err, oci.ErrNoImage):
		return "no-image", "artifacts, signatures and attestations hold no files that could be labelled"
	case errors.Is(err, oci.ErrExists):
		return "output-exists", "--output names a directory that is not there yet, --in-place replaces the image"
	case errors.Is(err, oci.ErrTagged):
		return "image-tag", "leave out the tag of --output"
	case errors.Is(err, oci.ErrMissing):
		return "damaged-image", "the image is not complete: copy it again, with all its platforms (skopeo copy --all)"
	case errors.Is(err, oci.ErrEncrypted):
		return "unsupported-image", "label the image before it is encrypted"
	case is[*oci.ForeignError](err):
		return "unsupported-image", "such layers, of Windows, cannot be changed"
	case is[*oci.DigestError](err), is[*oci.SizeError](err):
		return "damaged-image", "copy or make the image again"
	case is[*oci.TypeError](err), is[*oci.CountError](err), is[*oci.LimitError](err), is[*flat.LimitError](err), is[*document.SyntaxError](err), is[*document.MismatchError](err):
		return "damaged-image", ""
	}
	return "", ""
}
