package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		text string
		want []Setting
	}{
		{"", nil},
		{"# nothing\n\n", nil},
		{"\ufeff# nothing\r\na = 1\r\n", []Setting{{"a", Number, []string{"1"}, 2}}},
		{`policy = "appraise_tcb"`, []Setting{{"policy", Text, []string{"appraise_tcb"}, 1}}},
		{"# one\n\nkey-jobs = 4\nallow-writers = true # yes\r\ntrust = [\n  'a',\n  \"b\\u0020c\",\n]\n", []Setting{
			{"key-jobs", Number, []string{"4"}, 3}, {"allow-writers", Bool, []string{"true"}, 4}, {"trust", Texts, []string{"a", "b c"}, 5},
		}},
		{"a = 0x10\na = -1_000\n", []Setting{{"a", Number, []string{"16"}, 1}, {"a", Number, []string{"-1000"}, 2}}},
		{"trust = []", []Setting{{"trust", Texts, nil, 1}}},
		{"'a b' = ''\na.b = ''", []Setting{{"a b", Text, []string{""}, 1}, {"a.b", Text, []string{""}, 2}}},
		{"a = \"\"\"\none\n\"\"\"\nb = 1\n", []Setting{{"a", Text, []string{"one\n"}, 1}, {"b", Number, []string{"1"}, 4}}},
	}
	for _, tt := range tests {
		got, err := Parse([]byte(tt.text))
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %v %v, want %v", tt.text, got, err, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct {
		text   string
		line   int
		advice string // a part of it
	}{
		{"\npolicy = /etc/ima/ima-policy\n", 2, `policy = "/etc/ima/ima-policy"`},
		{"a = 1\npolicy = appraise_tcb", 2, `policy = "appraise_tcb"`},
		{"a = 1\n\npolicy\n", 3, ""},
		{"policy = \"a\nkey = 'b'\n", 1, ""},
		{"a = 1 b = 2\n", 1, ""},
		{"a = 1\n[table]\nb = 2\n", 2, "brackets"},
		{"[[table]]\n", 1, "brackets"},
		{"a = 1.5", 1, ""},
		{"a = 2026-11-26", 1, ""},
		{"a = {b = 1}", 1, ""},
		{"\na = ['x', 1]", 2, ""},
		{"a = 99999999999999999999", 1, ""},
		{"a = \"\xff\"", 1, ""},
		{"a = \"\x00\"", 1, ""},
		{"a = \"b\"\nc = [\"b\", \"\\u0000x\"]", 2, "u0000"},
		{"\ufeffa = \"b\"\n\ufeffc = 1", 2, ""},
		{"a = [[['x']]]", 1, ""},
		{"=", 1, ""},
		{strings.Repeat("#", MaxSize+1), 1, ""},
	}
	for _, tt := range tests {
		got, err := Parse([]byte(tt.text))
		wrong, ok := errors.AsType[*Error](err)
		if !ok || got != nil || wrong.Line != tt.line || !strings.Contains(wrong.Advice, tt.advice) {
			t.Errorf("%.40q: %v %+v, want line %d", tt.text, got, err, tt.line)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("policy = \"x\"\n# comment\ntrust = ['a', \"b\"]\nkey-jobs = 3\n"))
	f.Add([]byte("a.b = true\n[t]\n"))
	f.Add([]byte("\"\\u0001\" = \"\\\"\\\\\\t\"\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		found, err := Parse(text)
		if err != nil {
			wrong, ok := errors.AsType[*Error](err)
			if !ok || found != nil || wrong.Line < 1 || wrong.Line > 1+strings.Count(string(text), "\n") || wrong.Error() == "" {
				t.Fatalf("%v %#v", found, err)
			}
			return
		}
		var lines strings.Builder
		for _, s := range found {
			fmt.Fprintln(&lines, s)
		}
		again, err := Parse([]byte(lines.String()))
		if err != nil || len(again) != len(found) {
			t.Fatalf("%v is read as %v: %v", found, again, err)
		}
		for i, s := range again {
			if s.Line != i+1 {
				t.Fatalf("%v is in line %d", s, s.Line)
			}
			s.Line = found[i].Line
			if !reflect.DeepEqual(s, found[i]) {
				t.Fatalf("%q is read as %q", found[i], s)
			}
		}
	})
}
