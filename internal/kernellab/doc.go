// Package kernellab boots real Debian kernels and lets them judge labels.
package kernellab
