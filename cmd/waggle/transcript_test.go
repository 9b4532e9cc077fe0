//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const transcriptPage = "../../docs/api.md"

// session is a block of a page that shows commands, each behind a "$ ", and what they print.
var session = regexp.MustCompile("(?ms)^```\n(\\$ waggle .*?)^```$")

// TestTranscripts runs the sessions that docs/api.md shows, on other ports and with the ids that jobs get here: all that is
// printed must look as it does there. With TRANSCRIPTS=write, as scripts/transcripts sets it, the page is written anew.
func TestTranscripts(t *testing.T) {
	needAdapter(t)
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	writes := os.Getenv("TRANSCRIPTS") == "write"
	page := string(readFile(t, transcriptPage))
	blocks := session.FindAllStringSubmatch(page, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d sessions in %s, want one with a worker and one with a queen", len(blocks), transcriptPage)
	}
	for i, name := range []string{"worker", "queen"} {
		t.Run(name, func(t *testing.T) {
			shown := blocks[i][1]
			now := newReplay(t, writes).run(shown)
			if writes {
				page = strings.Replace(page, shown, now, 1)
			} else if diff := cmp.Diff(shape(shown), shape(now)); diff != "" {
				t.Errorf("%s shows (-) what is not printed now (+); scripts/transcripts writes it anew:\n%s", transcriptPage, diff)
			}
		})
	}
	if writes && !t.Failed() {
		if err := os.WriteFile(transcriptPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// replay runs the commands of one session.
type replay struct {
	t      *testing.T
	dir    string
	shown  bool              // with the ports that are shown
	change map[string]string // ids and ports that are shown, and those of now
	queen  *server           // of this session, if there is one
}

func newReplay(t *testing.T, shown bool) *replay {
	return &replay{t: t, dir: t.TempDir(), shown: shown, change: map[string]string{}}
}

var jobID = regexp.MustCompile(`job-[0-9a-f-]{36}`)

// run returns the session as it goes now.
func (r *replay) run(shown string) string {
	var now strings.Builder
	for _, e := range exchanges(shown) {
		command := r.present(e.command)
		printed := shortened(r.execute(command))
		ids := jobID.FindAllString(printed, -1)
		for i, id := range jobID.FindAllString(e.printed, -1) {
			if i < len(ids) {
				r.change[id] = ids[i]
			}
		}
		fmt.Fprintf(&now, "$ %s\n%s", command, printed)
		if printed != "" && !strings.HasSuffix(printed, "\n\n") {
			now.WriteString("\n\n"[strings.Count(printed[len(printed)-1:], "\n"):])
		}
	}
	return strings.TrimRight(r.past(now.String()), "\n") + "\n"
}

// present puts what there is now for what is shown.
func (r *replay) present(text string) string {
	for old, now := range r.change {
		text = strings.ReplaceAll(text, old, now)
	}
	return text
}

// past shows the ports that were shown before.
func (r *replay) past(text string) string {
	for old, now := range r.change {
		if !jobID.MatchString(old) {
			text = strings.ReplaceAll(text, now, old)
		}
	}
	return text
}

var portFlag = regexp.MustCompile(`--port (\d+)`)

// execute runs a command, in the background if it ends with an ampersand.
func (r *replay) execute(command string) string {
	r.t.Helper()
	line, background := strings.CutSuffix(command, " &")
	if background {
		if port := portFlag.FindStringSubmatch(line); port != nil && !r.shown {
			_, free, _ := net.SplitHostPort(freeAddress(r.t))
			r.change[port[1]] = free
			line = r.present(line)
		}
		r.serve(strings.Fields(line)[1:])
		return ""
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), commandLimit)
	defer cancel()
	c := exec.CommandContext(ctx, "sh", "-c", strings.Replace(command, "curl ", "curl -sf ", 1))
	c.Dir = r.dir
	out, err := c.Output()
	if err != nil {
		r.t.Fatalf("%s: %v", command, err)
	}
	return string(out)
}

// serve starts a server and waits until it can draw, and until the queen knows that who reports to her can.
func (r *replay) serve(args []string) {
	r.t.Helper()
	s := startServer(r.t, args...)
	switch {
	case args[0] == "queen":
		r.queen = s
	case slices.Contains(args, "--queen-url"):
		await(r.t, r.queen.openStream("/v1/heartbeats/stream"), commandLimit, "worker that can draw", func(m message) bool {
			return strings.Contains(m.data, `"workers_available":1`)
		})
	default:
		s.ready()
	}
}

type exchange struct{ command, printed string }

// exchanges cuts a session into commands and what they print. A command goes on while a quote is open.
func exchanges(text string) (list []exchange) {
	open := false
	for line := range strings.Lines(text) {
		command, begins := strings.CutPrefix(line, "$ ")
		switch last := len(list) - 1; {
		case open:
			list[last].command += line
			open = strings.Count(line, "'")%2 == 0
		case begins:
			list = append(list, exchange{command: command})
			open = strings.Count(line, "'")%2 == 1
		default:
			list[last].printed += line
		}
	}
	for i := range list {
		list[i].command = strings.TrimSuffix(list[i].command, "\n")
	}
	return list
}

// What is cut short on the page: pictures, and narrations as terminals show them.
var (
	pictures  = regexp.MustCompile(`("image":"[^"]{12})[^"]*"`)
	formatted = regexp.MustCompile(`"formatted":"(?:[^"\\]|\\.)*"`)
)

func shortened(text string) string {
	return formatted.ReplaceAllString(pictures.ReplaceAllString(text, `$1…"`), `"formatted":"…"`)
}

// What differs from run to run: ids, times, and whether a step came with its picture, which depends on when its reader came.
var varying = []struct {
	text *regexp.Regexp
	by   string
}{
	{jobID, "job-ID"},
	{regexp.MustCompile(`"elapsed_ms":\d+`), `"elapsed_ms":1`},
	{regexp.MustCompile(`(event: |"type":")(preview|progress)`), "${1}step"},
	{regexp.MustCompile(`("type":"step".*?),"image":"[^"]*","format":"png"`), "$1"},
}

// shape is what two runs have in common. The order of an object's members tells nothing.
func shape(text string) string {
	for _, v := range varying {
		text = v.text.ReplaceAllString(text, v.by)
	}
	var lines []string
	for line := range strings.Lines(text) {
		object := strings.TrimPrefix(line, "data: ")
		var members map[string]any
		if json.Unmarshal([]byte(object), &members) == nil {
			sorted, _ := json.Marshal(members)
			line = strings.TrimSuffix(line, object) + string(sorted) + "\n"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}
