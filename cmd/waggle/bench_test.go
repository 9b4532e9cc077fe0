package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestBenchBatch draws three pictures together: the times are of one.
func TestBenchBatch(t *testing.T) {
	needAdapter(t)
	var r result
	o := succeed(t, command(t, "bench", "--batch", "3", "--size", "64x64", "--steps", "3", "--runs", "1", "--json"))
	if err := json.Unmarshal([]byte(o.out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Batch != 3 || r.Step <= 0 || r.Step*2/1e3 > r.Picture {
		t.Errorf("%+v: want a batch of 3, and two steps shorter than the picture", r)
	}
	if o := finish(t, command(t, "bench", "--batch", "0")); o.code == exitOK || !strings.Contains(o.err, "--batch 0: want 1 or more") {
		t.Errorf("--batch 0: exit code %d, %s", o.code, o.err)
	}
}

// TestBenchService measures the service in a few steps: every number is there.
func TestBenchService(t *testing.T) {
	needAdapter(t)
	var r serviceResult
	o := succeed(t, command(t, "bench", "--service", "--steps", "2", "--runs", "1", "--json"))
	if err := json.Unmarshal([]byte(o.out), &r); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]spent{"bare": r.Bare, "watched": r.Watched, "one by one": r.OneByOne, "together": r.Together} {
		if len(s.Wall) != 1 || len(s.CPU) != 1 || s.Wall[0] <= 0 || s.CPU[0] <= 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if r.Steps != 2 || r.Speedup <= 0 || r.Overhead <= -1 {
		t.Errorf("%+v", r)
	}
}

// TestBenchPaced sends two lines: after the picture to warm up there must be one for each, and then an end.
func TestBenchPaced(t *testing.T) {
	needAdapter(t)
	c := command(t, "bench", "--paced", "--size", "64x64", "--steps", "3")
	c.Stdin = strings.NewReader("\n\n")
	answers := json.NewDecoder(strings.NewReader(succeed(t, c).out))
	count := 0
	for ; answers.More(); count++ {
		var r result
		if err := answers.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if r.Width != 64 || r.Height != 64 || r.Steps != 3 || r.Adapter == "" {
			t.Errorf("picture %d: %+v: want 64×64 in 3 steps and an adapter", count, r)
		}
		for name, v := range map[string]float64{"step": r.Step, "step's CPU": r.StepCPU, "picture": r.Picture, "CPU": r.CPU, "rate": r.Rate, "memory": r.Device} {
			if v <= 0 {
				t.Errorf("picture %d: %s is %v", count, name, v)
			}
		}
		if r.Step*2/1e3 > r.Picture || r.StepCPU*2/1e3 > r.CPU {
			t.Errorf("picture %d: %+v: two steps took longer than the picture", count, r)
		}
	}
	if count != 3 {
		t.Errorf("%d lines, want 3", count)
	}
}
