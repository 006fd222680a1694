package denials

import (
	"cmp"
	"slices"
	"time"
)

// maxPieces bounds the pieces of time of all groups, longestTimes those of one, of
// which some have to make room for others: with more, each is made twice as long.
const maxPieces, longestTimes = 1 << 18, 1 << 12

// A Piece is a piece of time, of [Report.Piece], in which records were made.
type Piece struct {
	Start time.Time
	Count uint64
}

// A piece is a Piece that is being counted, of which the start is in its own length
// since 1970.
type piece struct {
	at    int64
	count uint64
}

// pieces is when the records of groups were made, if that is asked for.
type pieces struct {
	seconds int64 // how long one is; 0 if it is not asked for
	count   int   // of all groups
}

// addTime counts a record of a group.
func (c *Collector) addTime(g *group, at time.Time) {
	if c.pieces.seconds == 0 || at.IsZero() {
		return
	}
	p := piece{floor(at.Unix(), c.pieces.seconds), 1}
	i := len(g.pieces) // most often it is the last one, or behind that
	if i > 0 && g.pieces[i-1].at >= p.at {
		i, _ = slices.BinarySearchFunc(g.pieces, p, comparePieces)
	}
	if i < len(g.pieces) && g.pieces[i].at == p.at {
		g.pieces[i].count++
		return
	}
	g.pieces = slices.Insert(g.pieces, i, p)
	for c.pieces.count++; c.pieces.count > maxPieces || len(g.pieces) > longestTimes; {
		c.widen()
	}
}

func comparePieces(a, b piece) int { return cmp.Compare(a.at, b.at) }

// floor is a quotient that is rounded down, also of times before 1970.
func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// widen makes the pieces twice as long. At the longest there is one a group, and there
// are fewer groups than maxPieces.
func (c *Collector) widen() {
	c.pieces.seconds *= 2
	c.pieces.count = 0
	for _, of := range []map[key]*group{c.groups, c.rest} {
		for _, g := range of {
			var wide []piece
			for _, p := range g.pieces {
				p.at = floor(p.at, 2)
				if n := len(wide); n > 0 && wide[n-1].at == p.at {
					wide[n-1].count += p.count
				} else {
					wide = append(wide, p)
				}
			}
			g.pieces = wide
			c.pieces.count += len(wide)
		}
	}
}

// told returns pieces as they are told.
func (p pieces) told(all []piece) []Piece {
	var told []Piece
	for _, one := range all {
		told = append(told, Piece{time.Unix(one.at*p.seconds, 0), one.count})
	}
	return told
}
