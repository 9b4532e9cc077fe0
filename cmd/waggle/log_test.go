package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// The log is one line an entry, in the format and from the level asked for.
func TestLogFormats(t *testing.T) {
	var text, objects bytes.Buffer
	for to, flags := range map[*bytes.Buffer]listenFlags{&text: {Log: "warn", Format: "text"}, &objects: {Log: "warn", Format: "json"}} {
		log := slog.New(flags.logHandler(to))
		log.Info("below the level")
		log.Warn("two\nlines", "job", "job-1", "in", 90*time.Second)
	}
	if got := text.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `msg="two\nlines" job=job-1 in=1m30s`) {
		t.Errorf("text: %q", got)
	}
	var entry struct {
		Level string `json:"level"`
		Text  string `json:"msg"`
		Job   string `json:"job"`
		In    string `json:"in"`
	}
	if err := json.Unmarshal(objects.Bytes(), &entry); err != nil {
		t.Fatalf("json: %q: %v", objects.String(), err)
	}
	if entry.Level != "WARN" || entry.Text != "two\nlines" || entry.Job != "job-1" || entry.In != "1m30s" {
		t.Errorf("json: %+v", entry)
	}
}
