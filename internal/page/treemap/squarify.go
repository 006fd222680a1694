package treemap

import "slices"

// A Box is a place on the map, in percent of what it is in.
type Box struct{ X, Y, W, H float64 }

// squarify divides an area among sizes, the largest of which comes first, so that
// each gets its share and no box is longer than it must be. Aspect is the width of the
// area by its height. Source: Bruls, Huizing and van Wijk, Squarified Treemaps, 2000.
func squarify(sizes []int, aspect float64) []Box {
	total := 0
	for _, s := range sizes {
		total += s
	}
	if total == 0 {
		return make([]Box, len(sizes))
	}
	boxes := make([]Box, 0, len(sizes))
	free := Box{0, 0, aspect, 1}
	perFile := aspect / float64(total)
	for len(boxes) < len(sizes) {
		rest := sizes[len(boxes):]
		side := min(free.W, free.H)
		n := 1
		for n < len(rest) && longestSide(rest[:n+1], side, perFile) <= longestSide(rest[:n], side, perFile) {
			n++
		}
		boxes = append(boxes, row(rest[:n], &free, perFile)...)
	}
	for i := range boxes { // in percent
		b := &boxes[i]
		b.X, b.Y = min(b.X*100/aspect, 100), min(b.Y*100, 100)
		b.W, b.H = min(b.W*100/aspect, 100-b.X), min(b.H*100, 100-b.Y)
	}
	return boxes
}

// longestSide is the worst ratio of the sides of boxes that stand in a row along a
// side.
func longestSide(sizes []int, side, perFile float64) float64 {
	sum := 0
	for _, s := range sizes {
		sum += s
	}
	area := float64(sum) * perFile
	if area == 0 || side == 0 {
		return 0
	}
	most, least := float64(slices.Max(sizes))*perFile, float64(slices.Min(sizes))*perFile
	if least == 0 {
		return 0
	}
	return max(side*side*most/(area*area), area*area/(side*side*least))
}

// row places boxes along the shorter side of what is free, and takes that from it.
func row(sizes []int, free *Box, perFile float64) []Box {
	sum := 0
	for _, s := range sizes {
		sum += s
	}
	upright := free.W >= free.H
	side := free.H
	if !upright {
		side = free.W
	}
	thick, at := 0.0, 0.0
	if side > 0 {
		thick = float64(sum) * perFile / side
	}
	var boxes []Box
	for _, s := range sizes {
		long := 0.0
		if sum > 0 {
			long = side * float64(s) / float64(sum)
		}
		b := Box{free.X, free.Y + at, thick, long}
		if !upright {
			b = Box{free.X + at, free.Y, long, thick}
		}
		boxes = append(boxes, b)
		at += long
	}
	if upright {
		free.X, free.W = free.X+thick, max(0, free.W-thick)
	} else {
		free.Y, free.H = free.Y+thick, max(0, free.H-thick)
	}
	return boxes
}
