package web

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestExampleClient runs the client of docs/websocket.md against the real
// server, and cuts its connection in the middle of a job.
func TestExampleClient(t *testing.T) {
	if os.Getenv("NO_GPU") == "1" {
		t.Skip("NO_GPU=1: the example was not tried with the real server")
	}
	chromium(t)
	b := blank(t, 800, 600, serve(t))
	b.load("/")
	b.done()
	b.do(chromedp.Evaluate(exampleClient(t)+`
		window.heard = [];
		window.previews = [];
		window.sockets = [];
		const Original = WebSocket;
		window.WebSocket = class extends Original {
			constructor(...args) { super(...args); sockets.push(this); }
		};
		const cutAt = 8;
		window.picture = makePicture(
			{ operation: 'image_generation', hive_id: 'localhost', model: 'tiny-shapes', prompt: 'a yellow star on a black background',
				width: 128, height: 128, steps: 30, guidance_scale: 5 },
			{
				onEvent: (id) => { heard.push(id); if (id === cutAt) sockets.at(-1).close(); },
				onPreview: (step, blob) => createImageBitmap(blob).then((b) => previews.push([step, b.width])),
			},
		).then((last) => { window.last = { type: last.type, length: last.image?.length }; }, (problem) => { window.last = { type: String(problem) }; });
		undefined`, nil))
	b.wait(`window.last !== undefined`)
	var got struct {
		Heard    []int
		Previews [][2]int
		Sockets  int
		Last     struct {
			Type   string
			Length int
		}
	}
	var text string
	b.do(chromedp.Evaluate(`JSON.stringify({heard, previews, sockets: sockets.length, last})`, &text))
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	for i, n := range got.Heard {
		if n != i+1 {
			t.Fatalf("events %v: want each once, in order", got.Heard)
		}
	}
	if len(got.Heard) < 31 || got.Last.Type != "complete" || got.Last.Length < 100 {
		t.Errorf("%d events, the last %+v", len(got.Heard), got.Last)
	}
	if got.Sockets < 2 {
		t.Errorf("%d sockets: the client did not come back", got.Sockets)
	}
	if len(got.Previews) < 3 || slices.ContainsFunc(got.Previews, func(p [2]int) bool { return p[0] < 1 || p[0] > 30 || p[1] != 128 }) {
		t.Errorf("previews (step, width) %v", got.Previews)
	}
}

// exampleClient is the script in the document, of at most 30 lines.
func exampleClient(t *testing.T) string {
	t.Helper()
	document, err := os.ReadFile("../docs/websocket.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(document), "```js\n")
	script, _, found := strings.Cut(rest, "```")
	if n := strings.Count(script, "\n"); !found || n > 30 {
		t.Fatalf("the example of docs/websocket.md has %d lines, want at most 30", n)
	}
	return script
}
