package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"waggle/internal/hub"
)

// tellEvery is the shortest time between two lines on one file.
const tellEvery = 2 * time.Second

// fetchProgress tells how far files are: a bar each on a terminal, lines elsewhere, JSON for programs.
type fetchProgress struct {
	mu    sync.Mutex
	json  bool
	bars  *mpb.Progress // nil: lines
	files map[string]*fetchedFile
}

type fetchedFile struct {
	bar  *mpb.Bar
	told time.Time
}

func newFetchProgress(asJSON bool) *fetchProgress {
	p := &fetchProgress{json: asJSON, files: map[string]*fetchedFile{}}
	if _, rows, err := term.GetSize(int(os.Stderr.Fd())); err == nil && rows > 1 && !asJSON {
		p.bars = mpb.New(mpb.WithOutput(os.Stderr), mpb.WithWidth(40))
	}
	return p
}

// progress is called from several goroutines.
func (p *fetchProgress) progress(at hub.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.files[at.File]
	if f == nil {
		f = &fetchedFile{}
		p.files[at.File] = f
	}
	whole := at.Size > 0 && at.Done == at.Size
	switch {
	case p.json:
		if at.Note != "" || whole || time.Since(f.told) > tellEvery {
			f.told = time.Now()
			json.NewEncoder(os.Stdout).Encode(map[string]any{"type": "progress", "file": at.File, "done": at.Done, "size": at.Size, "note": at.Note})
		}
	case p.bars != nil:
		p.draw(f, at)
	case at.Note != "":
		fmt.Fprintf(os.Stderr, "%s: %s\n", at.File, plainText(oneLine(at.Note)))
	case whole || time.Since(f.told) > tellEvery:
		f.told = time.Now()
		fmt.Fprintf(os.Stderr, "%s: %.1f%s MB\n", at.File, float64(at.Done)/1e6, of(at.Size))
	}
}

func of(size int64) string {
	if size == 0 {
		return ""
	}
	return fmt.Sprintf(" of %.1f", float64(size)/1e6)
}

// draw moves a file's bar. Notes stand above the bars.
func (p *fetchProgress) draw(f *fetchedFile, at hub.Progress) {
	if at.Note != "" {
		fmt.Fprintf(p.bars, "%s: %s\n", at.File, plainText(oneLine(at.Note)))
		return
	}
	if f.bar == nil {
		f.bar = p.bars.AddBar(at.Size, mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(plainText(at.File)+" "), decor.CountersKibiByte("% .1f / % .1f")),
			mpb.AppendDecorators(decor.AverageSpeed(decor.SizeB1024(0), "% .1f "), decor.AverageETA(decor.ET_STYLE_GO)))
	}
	f.bar.SetCurrent(at.Done)
}

// close ends the bars; a second call does nothing.
func (p *fetchProgress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bars == nil {
		return
	}
	for _, f := range p.files {
		if f.bar != nil {
			f.bar.Abort(true)
		}
	}
	p.bars.Wait()
	p.bars = nil
}

// done tells what became of it.
func (p *fetchProgress) done(r pulled) {
	p.close()
	r.print(p.json)
}
