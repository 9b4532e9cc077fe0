package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"

	"waggle/internal/job"
)

type listCommand struct {
	State string `enum:",queued,running,paused,complete,failed,cancelled" default:"" help:"Only jobs in this state: queued, running, paused, complete, failed, cancelled."`
	Limit int    `short:"n" default:"50" help:"How many at most, up to 500."`
}

// Run prints a table, cut to the terminal's width.
func (c *listCommand) Run(ctx context.Context, jobs *jobsCommand) error {
	server, err := jobs.connect(jobs.Server, jobs.Token)
	if err != nil {
		return err
	}
	defer server.Close()
	list, err := server.Jobs(ctx, job.State(c.State), "", c.Limit)
	if err != nil {
		return plainAnswer(err)
	}
	if jobs.JSON {
		return json.NewEncoder(os.Stdout).Encode(list)
	}
	return writeTable(os.Stdout, list, terminalWidth(), time.Now())
}

// writeTable writes jobs as rows of equal columns. A width in cells shortens ids to what tells them apart and cuts prompts;
// 0 leaves both whole.
func writeTable(w io.Writer, list []job.Report, width int, now time.Time) error {
	rows := [][]string{{"ID", "STATE", "STEP", "MODEL", "AGE", "PROMPT"}}
	short := func(id job.ID) string { return string(id) }
	if width > 0 {
		short = shortener(list)
	}
	for _, r := range list {
		rows = append(rows, []string{short(r.ID), state(r), stepOf(r.Step, r.Total), plainText(r.Request.Model), age(now.Sub(r.Created)), plainText(r.Request.Prompt)})
	}
	return writeColumns(w, rows, width)
}

// writeColumns writes rows of equal length with aligned columns, cut to a width in cells unless that is 0. Columns that hold
// nothing but their head are left out.
func writeColumns(w io.Writer, rows [][]string, width int) error {
	widths := make([]int, len(rows[0]))
	filled := make([]bool, len(rows[0]))
	for n, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], runewidth.StringWidth(cell))
			filled[i] = filled[i] || n > 0 && cell != ""
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if filled[i] || len(rows) == 1 {
				line.WriteString(runewidth.FillRight(cell, widths[i]) + "  ")
			}
		}
		text := strings.TrimRight(line.String(), " ")
		if width > 0 {
			text = runewidth.Truncate(text, width, "…")
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
}

// terminalWidth is how many cells wide the terminal at standard output is; 0 if it is none.
func terminalWidth() int {
	w, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return 0
	}
	return w
}

// shortest is how much of an id is shown at least: of one that a server made, its time to the millisecond.
const shortest = len("job-01234567-89ab")

// shortener cuts ids as far as they can still be told apart.
func shortener(list []job.Report) func(job.ID) string {
	n := shortest
	for i := range list {
		for k := range i {
			n = max(n, 1+common(string(list[i].ID), string(list[k].ID)))
		}
	}
	return func(id job.ID) string { return string(id[:min(n, len(id))]) }
}

// common is the length of what two texts begin with.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

func state(r job.Report) string {
	switch {
	case r.State == job.Running && r.CancelRequested:
		return "cancelling"
	case r.State == job.Running && r.PauseRequested:
		return "pausing"
	}
	return string(r.State)
}

func stepOf(step, total int) string {
	if step == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d", step, total)
}

// age is a time in its largest unit.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// plainText puts strangers' text on one line and takes out what a terminal would obey.
func plainText(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }), " ")
}

// showReport writes what people want to know of a job.
func showReport(w io.Writer, r job.Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name string, value any) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%v\n", name, value)
		}
	}
	q := r.Request
	line("id", r.ID)
	line("state", state(r))
	if r.Step > 0 {
		line("step", stepOf(r.Step, r.Total))
	}
	line("prompt", plainText(q.Prompt))
	line("negative", plainText(q.NegativePrompt))
	line("model", plainText(q.Model))
	if q.Steps > 0 { // a queen tells less
		line("seed", r.Seed)
		line("steps", fmt.Sprintf("%d of %s on %s", q.Steps, q.Sampler, q.Schedule))
		line("priority", string(q.Priority))
	}
	line("created", r.Created.Local().Format(time.DateTime))
	if !r.Finished.IsZero() {
		line("finished", r.Finished.Local().Format(time.DateTime))
	}
	if r.ElapsedMS > 0 {
		line("took", time.Duration(r.ElapsedMS)*time.Millisecond)
	}
	line("node", plainText(r.Node))
	for i, p := range r.Pictures {
		line(fmt.Sprintf("picture %d", i), fmt.Sprintf("%d×%d, seed %d", p.Width, p.Height, p.Seed))
	}
	for i, l := range r.LoRAs {
		line(fmt.Sprintf("lora %d", i), plainText(l.String()))
	}
	line("float32", plainText(strings.Join(r.Float32, ", ")))
	line("message", plainText(r.Message))
	return t.Flush()
}
