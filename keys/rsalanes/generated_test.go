package rsalanes

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var generatedFiles = []string{"kernels_amd64.s", "kernels_amd64.go"}

// TestGenerated runs the generator in a copy and compares what it writes with
// what is here.
func TestGenerated(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: builds the generator")
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "gen"), os.DirFS("gen")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "mod", "download", "-C", filepath.Join(dir, "gen")).CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the generator's modules: %v\n%s", err, out)
		}
		t.Skipf("the generator's modules cannot be had: %v\n%s", err, out)
	}
	cmd := exec.Command("go", generateArgs(t)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	for _, name := range generatedFiles {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the generator writes: run go generate", name)
		}
	}
}

// generateArgs returns the arguments of the go:generate line.
func generateArgs(t *testing.T) []string {
	source, err := os.ReadFile("kernels.go")
	if err != nil {
		t.Fatal(err)
	}
	_, line, ok := strings.Cut(string(source), "//go:generate go ")
	if !ok {
		t.Fatal("kernels.go has no go:generate line")
	}
	line, _, _ = strings.Cut(line, "\n")
	return strings.Fields(line)
}

// An instruction is a line of the assembly.
type instruction struct {
	text     string
	op       string
	operands []string // the last is where the result goes
}

// kernelCode returns the instructions of each function.
func kernelCode(t *testing.T) map[string][]instruction {
	source, err := os.ReadFile("kernels_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	code := make(map[string][]instruction)
	name := ""
	for line := range strings.Lines(string(source)) {
		line = strings.TrimSpace(line)
		if f, ok := strings.CutPrefix(line, "TEXT ·"); ok {
			name, _, _ = strings.Cut(f, "(")
			continue
		}
		if line == "" || strings.HasPrefix(line, "//") || strings.HasPrefix(line, "#") || strings.HasSuffix(line, ":") {
			continue
		}
		op, rest, _ := strings.Cut(line, " ")
		i := instruction{text: line, op: op}
		for _, o := range strings.Split(rest, ",") {
			if o = strings.TrimSpace(o); o != "" {
				i.operands = append(i.operands, o)
			}
		}
		code[name] = append(code[name], i)
	}
	return code
}

var (
	vectorRegister = regexp.MustCompile(`^(Z\d+|K\d)$`)
	parameter      = regexp.MustCompile(`^(\w+)\+\d+\(FP\)$`)
	memory         = regexp.MustCompile(`^\d*\(([A-Z]\w*)\)$`) // a base and nothing else
	scalarRegister = regexp.MustCompile(`^(AX|BX|CX|DX|SI|DI|R\d+)$`)
	constant       = regexp.MustCompile(`^\$`)
)

// TestKernelsKeepSecretsOutOfAddresses reads the assembly as a reviewer would.
// Numbers are in memory and in vector registers, and nothing gets from there
// into a scalar register: those have parameters, and what adding constants
// makes of them. Addresses are made of scalar registers, and jumps look at
// counters only. The one secret parameter, the index of pickLanes, goes into a
// vector register and nowhere else.
func TestKernelsKeepSecretsOutOfAddresses(t *testing.T) {
	code := kernelCode(t)
	if len(code) != 3 || len(code["mulLanes"]) < 500 || len(code["sqrLanes"]) < 500 || len(code["pickLanes"]) < 40 {
		t.Fatalf("%d functions", len(code))
	}
	for name, instructions := range code {
		secret := make(map[string]bool) // scalar registers
		for n, i := range instructions {
			if why := leaks(i, secret); why != "" {
				t.Errorf("%s: %s: %s", name, i.text, why)
			}
			if strings.HasPrefix(i.op, "J") && i.op != "JMP" && instructions[n-1].op != "DECQ" {
				t.Errorf("%s: %s: not after the counting of a loop", name, i.text)
			}
		}
	}
}

// leaks says what is wrong with an instruction. secret are the scalar registers
// that hold something secret before it, and then after it.
func leaks(i instruction, secret map[string]bool) string {
	for _, o := range i.operands {
		if m := memory.FindStringSubmatch(o); m != nil && (!scalarRegister.MatchString(m[1]) || secret[m[1]]) {
			return "an address that is secret"
		}
	}
	vector := func(o string) bool { return vectorRegister.MatchString(o) }
	scalar := func(o string) bool { return scalarRegister.MatchString(o) }
	switch i.op {
	case "VPMADD52LUQ", "VPMADD52HUQ", "VPADDQ", "VPANDQ", "VPXORQ", "VPSRLQ", "VPTERNLOGQ", "VPCMPEQQ", "VPMOVM2Q", "VMOVDQA64":
		for n, o := range i.operands {
			if !vector(o) && !constant.MatchString(o) && (!memory.MatchString(o) || n == len(i.operands)-1) {
				return "an operand that such an instruction does not have here"
			}
		}
	case "VMOVDQU64":
		from, to := i.operands[0], i.operands[1]
		if !(vector(from) && memory.MatchString(to) || memory.MatchString(from) && vector(to)) {
			return "neither a load nor a store of a vector register"
		}
	case "VPBROADCASTQ":
		if !scalar(i.operands[0]) || !vector(i.operands[1]) {
			return "not from a scalar to a vector register"
		}
	case "MOVQ":
		from, to := i.operands[0], i.operands[1]
		p := parameter.FindStringSubmatch(from)
		if !scalar(to) || p == nil && !scalar(from) && !constant.MatchString(from) {
			return "a scalar register gets something from memory"
		}
		secret[to] = p != nil && p[1] == "index" || secret[from]
	case "ADDQ", "LEAQ", "IMUL3Q", "DECQ":
		last := len(i.operands) - 1
		if i.op == "LEAQ" || i.op == "IMUL3Q" { // which do not read it
			delete(secret, i.operands[last])
		}
		for n, o := range i.operands {
			if secret[o] {
				return "arithmetic with a secret"
			}
			if !scalar(o) && (n == last || !constant.MatchString(o) && i.op != "LEAQ") {
				return "a scalar register gets something from elsewhere"
			}
		}
	case "JMP", "JNZ", "JZ", "VZEROUPPER", "RET":
	default:
		return "an instruction that this test does not know"
	}
	return ""
}

// TestLeaksAreFound gives leaks what it must refuse.
func TestLeaksAreFound(t *testing.T) {
	for _, bad := range []instruction{
		{op: "VMOVDQU64", operands: []string{"64(AX)(BX*8)", "Z1"}},
		{op: "VMOVDQU64", operands: []string{"64(CX)", "Z1"}},
		{op: "VMOVDQU64", operands: []string{"AX", "64(BX)"}},
		{op: "MOVQ", operands: []string{"8(AX)", "BX"}},
		{op: "MOVQ", operands: []string{"X1", "BX"}},
		{op: "ADDQ", operands: []string{"8(AX)", "BX"}},
		{op: "ADDQ", operands: []string{"CX", "BX"}},
		{op: "VPADDQ", operands: []string{"8(AX)(CX*1)", "Z1", "Z2"}},
		{op: "KMOVQ", operands: []string{"K1", "AX"}},
		{op: "CMPQ", operands: []string{"AX", "BX"}},
	} {
		if leaks(bad, map[string]bool{"CX": true}) == "" {
			t.Errorf("%s %s is not refused", bad.op, strings.Join(bad.operands, ", "))
		}
	}
	secret := make(map[string]bool)
	leaks(instruction{op: "MOVQ", operands: []string{"index+32(FP)", "DX"}}, secret)
	leaks(instruction{op: "MOVQ", operands: []string{"DX", "BX"}}, secret)
	if !secret["DX"] || !secret["BX"] {
		t.Errorf("secret are %v", secret)
	}
}

// TestKernelsWipeRegisters wants every vector register to be zero at the end of
// a kernel.
func TestKernelsWipeRegisters(t *testing.T) {
	for name, instructions := range kernelCode(t) {
		end := instructions[max(0, len(instructions)-34):]
		if end[0].op != "VPXORQ" || !slices.Equal(end[0].operands, []string{"Z0", "Z0", "Z0"}) {
			t.Errorf("%s: %s", name, end[0].text)
		}
		var wiped []string
		for _, i := range end[1:32] {
			if i.op == "VMOVDQA64" && i.operands[0] == "Z0" {
				wiped = append(wiped, i.operands[1])
			}
		}
		slices.Sort(wiped)
		if len(slices.Compact(wiped)) != 31 || slices.Contains(wiped, "Z0") || end[33].op != "RET" {
			t.Errorf("%s: wiped are %s, and it ends with %s", name, wiped, end[33].text)
		}
		for _, i := range instructions[:len(instructions)-1] {
			if i.op == "RET" {
				t.Errorf("%s returns in the middle", name)
			}
		}
	}
}
