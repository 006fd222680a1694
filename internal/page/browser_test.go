package page

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image/color"
	"image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imaseal/internal/treetest"
)

// A browser is a headless Chromium that is told what to do through two pipes, with the
// DevTools protocol: objects in JSON, each ended by a zero byte.
type browser struct {
	*testing.T
	to      *os.File
	from    *bufio.Reader
	session string
	id      int
	log     []string // what the page has logged, and what it was refused
}

func newBrowser(t *testing.T) *browser {
	if os.Getenv("IMASEAL_TEST") != "" {
		t.Skip("make test-unit runs it")
	}
	program := treetest.Tool(t, "chromium")
	in, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{in, out}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	out.Close()
	stop := time.AfterFunc(5*time.Minute, func() { cmd.Process.Kill() })
	b := &browser{T: t, to: to, from: bufio.NewReader(from)}
	t.Cleanup(func() {
		if !t.Failed() {
			b.session = ""
			b.call("Browser.close", nil, nil)
		}
		to.Close()
		from.Close()
		if t.Failed() {
			t.Logf("%s", errs.Bytes()[:min(errs.Len(), 1000)])
			cmd.Process.Kill()
		}
		cmd.Wait()
		stop.Stop()
	})
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// A reply is an object that the browser sends: an answer, or an event.
type reply struct {
	ID     int
	Method string
	Params json.RawMessage
	Result json.RawMessage
	Error  *struct{ Message string }
}

// read returns the next object.
func (b *browser) read() reply {
	b.Helper()
	text, err := b.from.ReadBytes(0)
	if err != nil {
		b.Fatalf("reading from the browser: %v", err)
	}
	var r reply
	if err := json.Unmarshal(text[:len(text)-1], &r); err != nil {
		b.Fatal(err)
	}
	switch r.Method {
	case "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded":
		b.log = append(b.log, string(r.Params))
	}
	return r
}

// call calls a method, and waits for what it returns.
func (b *browser) call(method string, params, result any) {
	b.Helper()
	b.id++
	message := map[string]any{"id": b.id, "method": method}
	if params != nil {
		message["params"] = params
	}
	if b.session != "" {
		message["sessionId"] = b.session
	}
	text, err := json.Marshal(message)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := b.to.Write(append(text, 0)); err != nil {
		b.Fatal(err)
	}
	for {
		r := b.read()
		if r.ID != b.id {
			continue
		}
		if r.Error != nil {
			b.Fatalf("%s: %s", method, r.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(r.Result, result); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
}

// open opens a page of a file on a screen.
func (b *browser) open(file string, width, height int, dark, script bool) {
	b.Helper()
	b.log = nil
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	b.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": !script}, nil)
	b.call("Page.navigate", map[string]any{"url": "about:blank"}, nil)
	b.call("Page.navigate", map[string]any{"url": "file://" + file}, nil)
	for b.read().Method != "Page.loadEventFired" {
	}
	for end := time.Now().Add(time.Minute); b.eval("document.readyState + location.protocol") != "completefile:"; {
		if time.Now().After(end) {
			b.Fatal("the page does not load")
		}
	}
}

// eval returns what an expression has for value, as text.
func (b *browser) eval(expression string) string {
	b.Helper()
	var r struct {
		Result           struct{ Value any }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &r)
	if r.ExceptionDetails != nil {
		b.Fatalf("%s: %s", expression, r.ExceptionDetails)
	}
	return fmt.Sprint(r.Result.Value)
}

// wants compares values of expressions.
func (b *browser) wants(name string, values map[string]string) {
	b.Helper()
	for expression, want := range values {
		if got := b.eval(expression); got != want {
			b.Errorf("%s: %s is %s, want %s", name, expression, got, want)
		}
	}
}

// press presses a key.
func (b *browser) press(key string, code int) {
	b.Helper()
	for _, kind := range []string{"rawKeyDown", "keyUp"} {
		b.call("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}, nil)
	}
}

// shot takes a picture of what is on the screen, and returns how often each colour is in
// a ninth of its points. IMASEAL_SHOTS is a directory to keep it in, for people.
func (b *browser) shot(name string) map[color.Color]int {
	b.Helper()
	var r struct{ Data []byte }
	b.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": false}, &r)
	if dir := os.Getenv("IMASEAL_SHOTS"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".png"), r.Data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	img, err := png.Decode(bytes.NewReader(r.Data))
	if err != nil {
		b.Fatal(err)
	}
	seen := make(map[color.Color]int)
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y += 3 {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x += 3 {
			seen[img.At(x, y)]++
		}
	}
	return seen
}

// visibleMaps lists the maps that are to be seen, and tells if their drawings have an
// extent.
const visibleMaps = `[...document.querySelectorAll(".map")].filter(m => m.getBoundingClientRect().height > 300 &&
	[...m.querySelectorAll(".area")].some(a => a.getBoundingClientRect().height > 300 && a.querySelectorAll("text").length > 2)).map(m => m.id).join()`

// scrollWidth is that of the screen where one need not scroll sideways. A telephone
// makes the window as wide as what is in it.
const scrollWidth = `document.documentElement.scrollWidth`

// wholeBadges says that no verdict about the host is broken into lines.
const wholeBadges = `[...document.querySelectorAll("#host .badge")].every(b => b.getClientRects().length == 1)`

// TestBrowser looks at pages as users do: on a desk and on a telephone, light and dark,
// with and without a script, on paper, and with names that would do harm.
func TestBrowser(t *testing.T) {
	b := newBrowser(t)
	dir := t.TempDir()
	save := func(name, page string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	rootPage := save("root.html", root(t).page(aFrame(4)))
	many, _ := machine(t, 50_000)
	manyPage := save("many.html", many.page(aFrame(4)))
	hostilePage := save("hostile.html", hostileTree(t).page(hostileFrame()))
	nightsPage := save("nights.html", nights().page(t, aFrame(4)))
	hostileNights := save("hostile-nights.html", hostileDenials().page(t, hostileFrame()))

	for _, screen := range []struct {
		width, height int
		dark          bool
		ground        color.Color // must be seen
	}{
		{1280, 1500, false, color.RGBA{0xcf, 0xe7, 0xd8, 0xff}}, {1280, 1500, true, color.RGBA{0x1f, 0x4a, 0x35, 0xff}},
		{320, 1500, false, color.RGBA{0xcf, 0xe7, 0xd8, 0xff}}, {390, 1500, false, color.RGBA{0xcf, 0xe7, 0xd8, 0xff}}, {390, 1500, true, color.RGBA{0x1f, 0x4a, 0x35, 0xff}},
	} {
		for name, file := range map[string]string{"root": rootPage, "many": manyPage, "hostile": hostilePage} {
			name := fmt.Sprintf("%s-%d-%v", name, screen.width, screen.dark)
			b.open(file, screen.width, screen.height, screen.dark, true)
			b.wants(name, map[string]string{wholeBadges: "true", scrollWidth: fmt.Sprint(screen.width), visibleMaps: "map0", "document.images.length + document.scripts.length": "1", "typeof pwned": "undefined"})
			if seen := b.shot(name); seen[screen.ground] < 500 || len(seen) < 50 {
				t.Errorf("%s: the map is not in the picture: %d pixels of %d colours", name, seen[screen.ground], len(seen))
			}
			if b.log != nil {
				t.Errorf("%s: the page has logged %q", name, b.log)
			}
		}
	}
	for _, width := range []int{1280, 390, 320} { // the last one is where WCAG wants pages to fit (1.4.10)
		for name, file := range map[string]string{"nights": nightsPage, "hostile-nights": hostileNights} {
			name := fmt.Sprintf("%s-%d", name, width)
			b.open(file, width, 1500, width == 390, true)
			b.wants(name, map[string]string{
				scrollWidth: fmt.Sprint(width), "document.images.length + document.scripts.length": "1", "typeof pwned": "undefined",
				`document.querySelector("#when .bars").getBoundingClientRect().height > 100 && document.querySelectorAll("#when .bars rect").length > 1`: "true",
			})
			if seen := b.shot(name); len(seen) < 50 || b.log != nil {
				t.Errorf("%s: %d colours; the page has logged %q", name, len(seen), b.log)
			}
		}
	}
	b.withoutScript(rootPage)
	b.withScript(rootPage)
	b.onPaper(rootPage)
}

// withoutScript: the map is there, and its links lead into directories and out again.
func (b *browser) withoutScript(file string) {
	b.open(file, 1280, 900, false, false)
	b.wants("without a script", map[string]string{visibleMaps: "map0", "document.querySelectorAll('.filter, .copy, th button').length": "0"})
	b.open(file+"#map1", 1280, 900, false, false)
	b.wants("in a directory", map[string]string{visibleMaps: "map1", "document.querySelector('#map1 .crumbs a').hash": "#map0"})
}

// withScript: clicks and keys.
func (b *browser) withScript(file string) {
	b.open(file, 1280, 900, false, true)
	b.eval(`window.scrollTo(0, 200); document.querySelector("#map0 .wide a[href='#map1']").dispatchEvent(new MouseEvent("click", {bubbles: true, cancelable: true}))`)
	b.wants("after a click", map[string]string{visibleMaps: "map1", "window.scrollY": "200", "document.activeElement.id": "map1"})
	b.press("Escape", 27)
	b.wants("after Escape", map[string]string{visibleMaps: "map0", "document.activeElement.id": "map0"})
	b.press("Tab", 9)
	b.wants("after Tab", map[string]string{"document.activeElement.closest('#map0') !== null && document.activeElement.matches(':focus-visible')": "true"})
	b.press("Enter", 13)
	b.wants("after Enter", map[string]string{"location.hash != '#map0' && document.activeElement.id == location.hash.slice(1)": "true"})
	column := `[...document.querySelectorAll("#labels tbody tr")].map(r => r.cells[1].textContent).join(" ")`
	b.eval(`document.querySelectorAll("#labels th button")[1].click()`)
	b.wants("sorted", map[string]string{column: "5,690 3,560 72", `document.querySelectorAll("#labels thead th")[1].getAttribute("aria-sort")`: "descending"})
	b.eval(`document.querySelectorAll("#labels th button")[1].click()`)
	b.wants("sorted again", map[string]string{column: "72 3,560 5,690"})
	b.eval(`{const i = document.querySelector("#causes input"); i.value = "Invalid-Hash"; i.dispatchEvent(new Event("input"))}`)
	b.wants("filtered", map[string]string{`[...document.querySelectorAll("#causes article")].map(a => a.hidden).join()`: "true,false,true"})
	if b.log != nil {
		b.Errorf("the page has logged %q", b.log)
	}
}

// onPaper: what is for the screen only is left out, in the colours of paper.
func (b *browser) onPaper(file string) {
	b.open(file, 1280, 900, true, true)
	var r struct{ Data string }
	b.call("Page.printToPDF", map[string]any{"printBackground": false, "preferCSSPageSize": true}, &r)
	pdf, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil || !bytes.HasPrefix(pdf, []byte("%PDF-")) || len(pdf) < 20_000 {
		b.Errorf("the PDF has %d bytes, %v", len(pdf), err)
	}
	if dir := os.Getenv("IMASEAL_SHOTS"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "root.pdf"), pdf, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	b.call("Emulation.setEmulatedMedia", map[string]any{"media": "print", "features": []any{map[string]any{"name": "prefers-color-scheme", "value": "dark"}}}, nil)
	b.wants("on paper", map[string]string{
		`getComputedStyle(document.body).backgroundColor`: "rgb(255, 255, 255)", `getComputedStyle(document.body).color`: "rgb(0, 0, 0)",
		`[...document.querySelectorAll(".copy, .filter, summary")].every(e => e.getBoundingClientRect().height == 0)`: "true", visibleMaps: "map0",
	})
}

// TestContrast: texts have a contrast to what they stand on of 4.5 or more, and lines
// and patterns one of 3, as WCAG 2.2 wants it (1.4.3, 1.4.11), in each set of colours.
func TestContrast(t *testing.T) {
	sets := strings.Split(content("page.css"), ":root {")[1:]
	if len(sets) != 3 {
		t.Fatalf("%d sets of colours", len(sets))
	}
	for i, set := range sets {
		of := make(map[string]float64)
		for _, entry := range strings.FieldsFunc(set[:strings.Index(set, "}")], func(r rune) bool { return r == ';' || r == '\n' }) {
			name, value, ok := strings.Cut(strings.TrimSpace(entry), ": ")
			if ok && strings.HasPrefix(value, "#") {
				of[strings.TrimPrefix(name, "--")] = luminance(t, value)
			}
		}
		atLeast := func(least float64, fore string, grounds ...string) {
			for _, ground := range grounds {
				a, b := of[fore], of[ground]
				if got := (max(a, b) + 0.05) / (min(a, b) + 0.05); got < least {
					t.Errorf("set %d: %s on %s has a contrast of %.2f, want %.1f", i, fore, ground, got, least)
				}
			}
		}
		for _, text := range []string{"text", "soft", "link", "good", "bad", "unclear", "failed-line"} {
			atLeast(4.5, text, "ground", "card")
		}
		atLeast(4.5, "text", "allowed", "denied", "undecided", "failed")
		for _, sign := range []string{"good", "bad", "unclear"} {
			atLeast(4.5, "on-sign", sign)
		}
		for _, v := range []string{"denied", "undecided", "failed"} {
			atLeast(3, v+"-line", v, "card")
		}
	}
}

// luminance is that of a colour as a style sheet writes it. Source: WCAG 2.2, relative
// luminance.
func luminance(t *testing.T, hex string) float64 {
	if len(hex) == 4 {
		hex = "#" + strings.Repeat(hex[1:2], 2) + strings.Repeat(hex[2:3], 2) + strings.Repeat(hex[3:4], 2)
	}
	var rgb [3]uint8
	if _, err := fmt.Sscanf(hex, "#%02x%02x%02x", &rgb[0], &rgb[1], &rgb[2]); err != nil {
		t.Fatalf("%q: %v", hex, err)
	}
	var sum float64
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		c := float64(rgb[i]) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}
