package main

import (
	"slices"
	"strings"
	"testing"
)

// A docBlock is a block of commands in a document.
type docBlock struct {
	words []string // behind "sh" on the line that begins it
	text  string
}

// has reports whether a word stands on the line that begins the block.
func (b docBlock) has(word string) bool { return slices.Contains(b.words, word) }

// docBlocks returns the blocks of commands in a document, of which there are least.
func docBlocks(t *testing.T, name string, least int) []docBlock {
	t.Helper()
	blocks := blocksOf(string(read(t, name)))
	if len(blocks) < least {
		t.Fatalf("%s has %d blocks of commands", name, len(blocks))
	}
	return blocks
}

// blocksOf returns the blocks of commands in a text.
func blocksOf(text string) []docBlock {
	var blocks []docBlock
	for part := range strings.SplitSeq(text, "\n```sh") {
		head, body, ok := strings.Cut(part, "\n")
		text, _, closed := strings.Cut(body, "\n```\n")
		if ok && closed {
			blocks = append(blocks, docBlock{words: strings.Fields(head), text: text})
		}
	}
	return blocks
}
