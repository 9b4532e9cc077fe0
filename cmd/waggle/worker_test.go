package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"waggle/gpu"
)

// parsed is serve with these arguments; those before the flags that are NAME=VALUE are the environment.
func parsed(t *testing.T, args ...string) (*serveCommand, error) {
	t.Helper()
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, value, _ := strings.Cut(args[0], "=")
		t.Setenv(name, value)
		args = args[1:]
	}
	v := new(verbs)
	parser, err := newParser(context.Background(), v)
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(withVerb(append(args, "--log-level=info"))) // a flag, so that there is one
	return &v.Serve, err
}

func TestModelFlags(t *testing.T) {
	for _, row := range []struct {
		args         string
		called, path string
		unused       string
	}{
		{"", "tiny-shapes", "", ""},
		{"--model m", "m", "", ""},
		{"--model=m", "m", "", ""},
		{"--sd-version v1-5", "v1-5", "", ""},
		{"--sd-version=V1-5", "V1-5", "", ""},
		{"--model-ref hf:owner/m", "hf:owner/m", "", ""},
		{"--model-path /m.safetensors", "/m.safetensors", "", ""},
		{"--model m --sd-version v1-5 --model-ref r", "m", "", "sd-version model-ref"},
		{"--model-ref r --sd-version v1-5", "v1-5", "", "model-ref"},
		{"--sd-version v1-5 --model-path /m.safetensors", "v1-5", "/m.safetensors", ""},
		{"--model-path /m.safetensors --model m", "m", "/m.safetensors", ""},
		{"--model m --model-ref m", "m", "", ""},
		{"SD_VERSION=v1-5 MODEL_PATH=/m", "v1-5", "/m", ""},
		{"WAGGLE_MODEL=m SD_VERSION=v1-5", "m", "", "sd-version"},
		{"SD_VERSION=v1-5 MODEL_PATH=/m --model m", "m", "", ""},
		{"WAGGLE_MODEL=m --sd-version v1-5", "v1-5", "", ""},
		{"SD_VERSION=v1-5 --sd-version xl", "xl", "", ""},
		{"SD_VERSION= MODEL_PATH=", "tiny-shapes", "", ""},
	} {
		t.Run(row.args, func(t *testing.T) {
			c, err := parsed(t, strings.Fields(row.args)...)
			if err != nil {
				t.Fatal(err)
			}
			if c.Model != row.called || c.path != row.path || strings.Join(c.unused, " ") != row.unused {
				t.Errorf("called %q at %q, unused %q", c.Model, c.path, c.unused)
			}
		})
	}
}

// machine is what a machine has, in its driver's order.
var machine = map[string][]gpu.Adapter{
	"software only": {{Index: 0, Name: "llvmpipe", Kind: gpu.Software}},
	"laptop": {
		{Index: 0, Name: "Intel(R) Graphics", Kind: gpu.Integrated}, {Index: 1, Name: "llvmpipe", Kind: gpu.Software},
		{Index: 2, Name: "NVIDIA GeForce RTX 4060", Kind: gpu.Discrete},
	},
	"two makers": {
		{Index: 0, Name: "AMD Radeon RX 7900", Kind: gpu.Discrete}, {Index: 1, Name: "NVIDIA A", Kind: gpu.Discrete},
		{Index: 2, Name: "NVIDIA B", Kind: gpu.Discrete},
	},
	"none": {},
}

func TestPlace(t *testing.T) {
	for _, row := range []struct {
		args, machine string
		want          string // index of the adapter, or words of an error
	}{
		{"--device 0", "laptop", "2"}, {"--device=1", "laptop", "0"}, {"--device 2", "laptop", "no adapter at --device 2; there are 0: NVIDIA"},
		{"--device 0", "software only", "0"}, {"--device 3", "software only", "0"}, {"--device 0", "none", "no GPU adapter"},
		{"--device cpu", "laptop", "1"}, {"--device CPU-0", "laptop", "1"}, {"--backend cpu --device 1", "laptop", "1"},
		{"--device cpu", "two makers", "mesa-vulkan-drivers"},
		{"--device cuda", "two makers", "1"}, {"--device cuda:1", "two makers", "2"}, {"--cuda-device 1", "two makers", "2"},
		{"--cuda-device 2", "two makers", "no adapter at --cuda-device cuda:2"},
		{"--rocm-device=0", "two makers", "0"}, {"--rocm-device 0", "laptop", "2"}, {"--device metal:0", "two makers", "0"},
		{"--device vulkan:1", "two makers", "1"}, {"--backend cuda --device 1", "two makers", "2"}, {"--device GPU-1", "two makers", "1"},
		{"--worker-id worker-cpu-8080 --device 0", "laptop", "1"}, {"--worker-id worker-cuda-8080 --device 0", "laptop", "2"},
		{"--worker-id worker-cpu-8080", "laptop", "1"}, {"--worker-id worker-cpu-8080 --device cuda:0", "laptop", "2"},
		{"--worker-id worker-cuda-8081 --device 1", "two makers", "2"},
		{"CUDA_DEVICE=1", "two makers", "2"}, {"CUDA_DEVICE=1 --device cpu", "laptop", "1"}, {"--device 0 --cuda-device 0", "two makers", "1"},
	} {
		t.Run(row.args+" on "+row.machine, func(t *testing.T) {
			c, err := parsed(t, strings.Fields(row.args)...)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if a, err := c.place.find(machine[row.machine]); err != nil {
				got = err.Error()
			} else {
				got = fmt.Sprint(a.Index)
			}
			if got != row.want && (len(row.want) == 1 || !strings.Contains(got, row.want)) {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestPlaceNotSaid(t *testing.T) {
	for _, args := range []string{"", "--gpu 0", "--worker-id bee-1", "--gpu all --worker-id worker-cpu-8080", "CUDA_DEVICE=1 --gpu 0"} {
		t.Run(args, func(t *testing.T) {
			t.Setenv("WAGGLE_GPU", "")
			if c, err := parsed(t, strings.Fields(args)...); err != nil || c.place != nowhere {
				t.Errorf("got %+v, %v", c.place, err)
			}
		})
	}
}

func TestWorkerFlagsRefused(t *testing.T) {
	for args, words := range map[string][]string{
		"--device x":                       {"--device x", "cuda"},
		"--device=-1":                      {"--device -1"},
		"--device cuda:x":                  {"--device cuda:x"},
		"--device 99999":                   {"--device 99999"},
		"--cuda-device x":                  {"--cuda-device cuda:x"},
		"--backend tpu":                    {"--backend tpu"},
		"--device 1 --cuda-device 0":       {"--device", "--cuda-device"},
		"--device cpu --backend cuda":      {"--device", "--backend"},
		"--cuda-device 0 --rocm-device 0":  {"--cuda-device", "--rocm-device"},
		"--gpu 0 --device 0":               {"--gpu", "--device"},
		"WAGGLE_GPU=0 CUDA_DEVICE=0":       {"--gpu", "--cuda-device"},
		"CUDA_DEVICE=0 METAL_DEVICE=0":     {"--cuda-device", "--metal-device"},
		"--device 0 --device-that-is-none": {"--device-that-is-none"},
		"--queen-url localhost:7833":       {"--queen-url", "http://host:7833"},
	} {
		t.Run(args, func(t *testing.T) {
			_, err := parsed(t, strings.Fields(args)...)
			for _, word := range words {
				if err == nil || !strings.Contains(err.Error(), word) {
					t.Errorf("want an error with %q, got %v", word, err)
				}
			}
		})
	}
}

// TestFlagsWithoutEffect: all that other workers take is taken.
func TestFlagsWithoutEffect(t *testing.T) {
	args := "--worker-id w --sd-version v1-5 --port 8081 --callback-url http://127.0.0.1:9 --hive-url http://127.0.0.1:7835" +
		" --hive-id=localhost --use-f16 --use-flash-attn=true --local-mode --model-ref r --queen-url http://127.0.0.1:7833/"
	c, err := parsed(t, strings.Fields(args)...)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"hive-url", "hive-id", "local-mode", "use-f16", "use-flash-attn", "model-ref"}
	if !slices.Equal(c.unused, want) || c.QueenURL != "http://127.0.0.1:7833/" || c.Port != 8081 || c.WorkerID != "w" {
		t.Errorf("unused %q, queen %q, port %d, id %q", c.unused, c.QueenURL, c.Port, c.WorkerID)
	}
}

func TestQueenFlags(t *testing.T) {
	for args, want := range map[string]string{
		"": "", "--queen-url http://q:1": "http://q:1", "--callback-url http://q:1": "http://q:1", "CALLBACK_URL=http://q:1": "http://q:1",
		"--callback-url http://other:1 --queen-url http://q:1": "http://q:1", "--callback-url none": "", "--queen-url=": "",
	} {
		t.Run(args, func(t *testing.T) {
			c, err := parsed(t, strings.Fields(args)...)
			if err != nil || c.QueenURL != want || slices.Contains(c.unused, "callback-url") != (args == "--callback-url none") {
				t.Errorf("reports to %q, unused %q, %v", c.QueenURL, c.unused, err)
			}
		})
	}
}

func TestQueenMayNotReach(t *testing.T) {
	for args, word := range map[string]string{
		"--queen-url http://localhost:7833":                                  "",
		"--queen-url http://[::1]:7833 --bind localhost":                     "",
		"--queen-url http://10.0.0.5:7833 --bind 0.0.0.0 --token honey":      "",
		"--queen-url http://10.0.0.5:7833":                                   "--bind",
		"--queen-url http://queen.example":                                   "--bind",
		"--queen-url http://localhost:7833 --tls-cert c.pem --tls-key k.pem": "https",
	} {
		t.Run(args, func(t *testing.T) {
			c, err := parsed(t, strings.Fields(args)...)
			if err != nil {
				t.Fatal(err)
			}
			if doubt := c.doubt(); (doubt == "") != (word == "") || !strings.Contains(doubt, word) {
				t.Errorf("doubts %q, want %q", doubt, word)
			}
		})
	}
}
