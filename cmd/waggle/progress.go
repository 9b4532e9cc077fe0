package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"waggle/internal/client"
	"waggle/internal/job"
)

// progress tells how far a picture is: a bar on a terminal, lines elsewhere, JSON for programs.
type progress struct {
	json *json.Encoder // nil: for people
	bars *mpb.Progress // nil: lines
	bar  *mpb.Bar
	out  io.Writer
	told time.Time

	loras   []job.LoRAResult // of the pictures
	float32 []string         // networks whose weights were computed so
}

func newProgress(asJSON bool) *progress {
	p := &progress{out: os.Stderr}
	if asJSON {
		p.json = json.NewEncoder(os.Stdout)
	} else if _, rows, err := term.GetSize(int(os.Stderr.Fd())); err == nil && rows > 1 {
		p.bars = mpb.New(mpb.WithOutput(os.Stderr), mpb.WithWidth(40))
	}
	return p
}

// start says what is made where: on an adapter, or as a job of a server.
func (p *progress) start(adapter string, id job.ID, r job.Request) {
	if p.json != nil {
		p.json.Encode(started{"start", adapter, id, r.Model, *r.Seed, r.Width, r.Height, r.Steps})
		return
	}
	where := "on " + adapter
	if id != "" {
		where = "as " + string(id)
	}
	size := ""
	if r.Width > 0 { // else it is that of a picture
		size = fmt.Sprintf("%d×%d, ", r.Width, r.Height)
	}
	fmt.Fprintf(p.out, "%s, %s%d steps of %s, seed %d, %s\n", plainText(r.Model), size, r.Steps, r.Sampler, *r.Seed, where)
}

// started is the first line for programs.
type started struct {
	Type    string `json:"type"`
	Adapter string `json:"adapter,omitempty"`
	Job     job.ID `json:"job,omitempty"`
	Model   string `json:"model"`
	Seed    uint64 `json:"seed"`
	Width   int    `json:"width,omitempty"`
	Height  int    `json:"height,omitempty"`
	Steps   int    `json:"steps"`
}

// step is called after each step; elapsed is the time of the picture's steps so far, 0 if that is not known.
func (p *progress) step(step, total int, elapsed time.Duration) {
	switch {
	case p.json != nil:
		p.json.Encode(map[string]any{"type": "progress", "step": step, "total": total, "elapsed_ms": elapsed.Milliseconds()})
	case p.bars != nil:
		if p.bar == nil {
			p.bar = p.bars.AddBar(int64(total), mpb.BarRemoveOnComplete(),
				mpb.PrependDecorators(decor.CountersNoUnit("step %d/%d")), mpb.AppendDecorators(times(elapsed > 0)...))
		}
		p.bar.SetCurrent(int64(step))
	case step == total || time.Since(p.told) > 2*time.Second:
		p.told = time.Now()
		fmt.Fprintf(p.out, "step %d of %d%s\n", step, total, rate(step, elapsed))
	}
}

// times are what stands behind a bar; how long it will take can be said only of steps that are heard of as they happen.
func times(live bool) []decor.Decorator {
	list := []decor.Decorator{decor.Elapsed(decor.ET_STYLE_GO)}
	if live {
		list = append(list, decor.AverageETA(decor.ET_STYLE_GO, decor.WC{W: 8}))
	}
	return list
}

func rate(step int, elapsed time.Duration) string {
	if elapsed == 0 {
		return ""
	}
	return fmt.Sprintf(", %.0f ms a step", elapsed.Seconds()*1e3/float64(step))
}

// mixes says what LoRAs do to the model: lines for people, a member of each picture's line for programs.
func (p *progress) mixes(loras []job.LoRAResult) {
	p.loras = loras
	for _, l := range loras {
		p.note("%s", plainText(l.String()))
	}
}

// widened says which networks' weights were computed in float32: a line for people when there are more of them, a member of
// each picture's line for programs.
func (p *progress) widened(networks []string) {
	if len(networks) > len(p.float32) {
		p.note("computed with weights in float32, as float16 is too narrow for them: %s", plainText(strings.Join(networks, ", ")))
	}
	p.float32 = networks
}

// from tells programs what a picture's file says; people are told in words.
func (p *progress) from(t fromLine) {
	if p.json != nil {
		p.json.Encode(t)
	}
}

// note says something that people should know before the work.
func (p *progress) note(format string, args ...any) {
	if p.json == nil {
		fmt.Fprintf(p.out, format+"\n", args...)
	}
}

// said tells what a queen says beside a job's events: to programs, and dimly to people who watch.
func (p *progress) said(n client.Narration) {
	text := plainText(n.Human)
	switch {
	case p.json != nil:
		p.json.Encode(n)
	case p.bars == nil || text == "" || n.Action == "failed" || n.Action == "cancelled": // the error will say so
	case p.bar != nil:
		fmt.Fprintln(p.bars, dim(text)) // above the bar
	default:
		fmt.Fprintln(p.out, dim(text))
	}
}

func dim(text string) string { return "\x1b[2m" + text + "\x1b[0m" }

// event tells of what a server's job reports, but for its end.
func (p *progress) event(e job.Event) {
	switch {
	case e.Final():
		p.done()
	case e.Type != job.ChangeEvent:
		p.step(e.Step, e.Total, 0)
	case p.json != nil:
		p.json.Encode(e)
	case e.State != job.Running:
		p.done()
		fmt.Fprintln(p.out, e.State)
	}
}

// done ends the bar of a picture.
func (p *progress) done() {
	if p.bar != nil {
		p.bar.Abort(true)
		p.bar.Wait()
		p.bar = nil
	}
}

func (p *progress) wrote(path string, seed uint64, total time.Duration) {
	if p.json != nil {
		line := map[string]any{"type": "complete", "file": path, "seed": seed, "elapsed_ms": total.Milliseconds()}
		if len(p.loras) > 0 {
			line["loras"] = p.loras
		}
		if len(p.float32) > 0 {
			line["float32"] = p.float32
		}
		p.json.Encode(line)
		return
	}
	fmt.Fprintf(p.out, "%s (seed %d, %.1f s)\n", path, seed, total.Seconds())
}
