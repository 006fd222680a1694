package merge

import (
	"fmt"
	"strconv"
	"strings"

	"imaseal/internal/report"
	"imaseal/internal/shard"
)

// shards notes which shards a report is of, and returns false if one of them was
// there before.
func (m *Merger) shards(name string, number int, s *report.Summary) bool {
	count := shards(s)
	if count == 0 {
		return true
	}
	if count > shard.Max {
		m.problem(name, number, "is damaged: there are not so many shards")
		return false
	}
	if m.have == nil {
		m.have = make([]int32, count)
	}
	of := []span{{s.Shard.Index, s.Shard.Index}}
	if s.Merged != nil {
		var err error
		if of, err = others(s.Merged.Missing, count); err != nil {
			m.problem(name, number, "is damaged: %v", err)
			return false
		}
	}
	for _, part := range of {
		for i := part.first; i <= part.last; i++ {
			if at := m.have[i-1]; at != 0 {
				m.problem(name, number, "there is a report of shard %d of %d already, in %s", i, count, report.Quote(m.names[at-1]))
				return false
			}
		}
	}
	m.names = append(m.names, name)
	for _, part := range of {
		for i := part.first; i <= part.last; i++ {
			m.have[i-1] = int32(len(m.names))
		}
	}
	return true
}

// A span is shards one after the other.
type span struct{ first, last int }

// missing names the shards without a report.
func (m *Merger) missing() string {
	var all []string
	for i := 0; i < len(m.have); i++ {
		if m.have[i] != 0 {
			continue
		}
		first := i
		for i+1 < len(m.have) && m.have[i+1] == 0 {
			i++
		}
		text := strconv.Itoa(first + 1)
		if i > first {
			text += "-" + strconv.Itoa(i+1)
		}
		all = append(all, text)
	}
	return strings.Join(all, ",")
}

// others returns the shards of count that a list of missing ones does not name.
func others(missing string, count int) ([]span, error) {
	var all []span
	next := 1
	if missing != "" {
		for text := range strings.SplitSeq(missing, ",") {
			from, to, isSpan := strings.Cut(text, "-")
			first, err := strconv.Atoi(from)
			last := first
			if err == nil && isSpan {
				last, err = strconv.Atoi(to)
			}
			if err != nil || first < next || last < first || last > count {
				return nil, fmt.Errorf("%q names no shards of %d", missing, count)
			}
			if first > next {
				all = append(all, span{next, first - 1})
			}
			next = last + 1
		}
	}
	if next <= count {
		all = append(all, span{next, count})
	}
	return all, nil
}
