//go:build unix

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waggle/internal/job"
	"waggle/internal/models"
	"waggle/internal/weights"
)

// writeLoRA makes a LoRA for the built-in model's attention, of random numbers, in dir.
func writeLoRA(t *testing.T, dir, name string, seed uint64) string {
	t.Helper()
	m, err := models.Open("tiny-shapes")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	random := rand.New(rand.NewPCG(seed, 1))
	var all []weights.Tensor
	add := func(name string, shape ...int) {
		tensor := weights.Tensor{Name: name, DType: weights.F32, Shape: shape}
		for range tensor.Elements() {
			tensor.Data = binary.LittleEndian.AppendUint32(tensor.Data, math.Float32bits(0.15*float32(random.NormFloat64())))
		}
		all = append(all, tensor)
	}
	for _, module := range m.UNet.Tensors.Names() {
		tensor, _ := m.UNet.Tensors.Tensor(module)
		if stem, ok := strings.CutSuffix(module, ".weight"); ok && strings.Contains(stem, ".attn") {
			stem = "lora_unet_" + strings.ReplaceAll(stem, ".", "_")
			add(stem+".lora_down.weight", 4, tensor.Shape[1])
			add(stem+".lora_up.weight", tensor.Shape[0], 4)
		}
	}
	add("lora_unet_of_another_model.lora_down.weight", 4, 4)
	path := filepath.Join(dir, name+".safetensors")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := weights.Write(f, all, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

// loraShelf is a folder for --models with two LoRAs, ink and glow.
func loraShelf(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	loras := filepath.Join(dir, "loras")
	if err := os.Mkdir(loras, 0o755); err != nil {
		t.Fatal(err)
	}
	writeLoRA(t, loras, "ink", 1)
	writeLoRA(t, loras, "glow", 2)
	return dir
}

// TestGenerateLoRA: a LoRA by its name, as a file and in the prompt is the same; the picture's metadata and the lines for
// programs tell of it.
func TestGenerateLoRA(t *testing.T) {
	needAdapter(t)
	t.Parallel()
	dir := loraShelf(t)
	args := []string{"generate", starPrompt, "--models", dir, "--steps", "3", "--size", "64", "--seed", "3", "--json", "-o", "out.png"}
	draw := func(more ...string) ([]byte, string) {
		c := command(t, append(slices.Clone(args), more...)...)
		o := succeed(t, c)
		return readFile(t, filepath.Join(c.Dir, "out.png")), o.out
	}
	named, out := draw("--lora", "ink:0.8")
	var last struct{ LoRAs []job.LoRAResult }
	if err := json.Unmarshal([]byte(out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]), &last); err != nil || len(last.LoRAs) != 1 ||
		last.LoRAs[0].Name != "ink" || last.LoRAs[0].Matched == 0 || last.LoRAs[0].Unmatched != 1 || last.LoRAs[0].Misshapen != 0 {
		t.Errorf("the last line tells %+v, error %v", last, err)
	}
	p := parametersOf(t, named)
	if p.Prompt != starPrompt+" <lora:ink:0.8>" || !strings.Contains(p.String(), `Lora hashes: "ink: `) {
		t.Errorf("metadata %q", p.String())
	}
	if file, _ := draw("--lora", filepath.Join(dir, "loras", "ink.safetensors")+":0.8"); !bytes.Equal(file, named) {
		t.Error("the same file by its path gives another picture")
	}
	c := command(t, "generate", p.Prompt, "--models", dir, "--steps", "3", "--size", "64", "--seed", "3", "-o", "out.png")
	if said := succeed(t, c); !strings.Contains(said.err, "LoRA ink at 0.8: ") {
		t.Errorf("people are told %q", said.err)
	}
	again := readFile(t, filepath.Join(c.Dir, "out.png"))
	if !bytes.Equal(decoded(t, again).Pix, decoded(t, named).Pix) {
		t.Error("the metadata's prompt gives another picture")
	}
	if without, _ := draw(); bytes.Equal(decoded(t, without).Pix, decoded(t, named).Pix) {
		t.Error("the LoRA changes nothing")
	}
	fail(t, command(t, "generate", starPrompt, "--models", dir, "--lora", "inc"), exitFailed, "inc", "ink")
	fail(t, command(t, "generate", starPrompt, "--models", dir, "--lora", "ink:much"), exitFailed, "--lora", "ink:much")
}

// TestServerAlternatesLoRAs: jobs with one LoRA, another and none take turns, and each gives its own picture; one that
// names a LoRA which is not there fails and says which are. A job that is killed goes on with its LoRA to the same picture.
func TestServerAlternatesLoRAs(t *testing.T) {
	needAdapter(t)
	dir, data := loraShelf(t), t.TempDir()
	start := func() *server {
		return startServer(t, "serve", "--port", "0", "--data", data, "--models", dir, "--checkpoint-every", "1ms")
	}
	s := start()
	request := func(steps int, loras ...string) fields {
		list := []fields{}
		for _, name := range loras {
			list = append(list, fields{"path": name, "strength": 0.8})
		}
		return star(fields{"width": 64, "height": 64, "steps": steps, "sampler": "euler_ancestral", "loras": list})
	}
	seen := map[string][]byte{}
	for range 2 {
		var streams []string
		sets := [][]string{{"ink"}, {"glow"}, {"ink", "glow"}, nil}
		for _, set := range sets {
			_, stream := s.post(request(4, set...))
			streams = append(streams, stream)
		}
		for i, stream := range streams {
			name, picture := strings.Join(sets[i], "+"), s.finished(stream)
			if before := seen[name]; before != nil && !bytes.Equal(before, picture) {
				t.Errorf("LoRAs %q: another picture the second time", name)
			}
			seen[name] = picture
		}
	}
	for name, picture := range seen {
		for other, its := range seen {
			if name != other && bytes.Equal(decoded(t, picture).Pix, decoded(t, its).Pix) {
				t.Errorf("LoRAs %q and %q give one picture", name, other)
			}
		}
	}
	id, stream := s.post(request(4, "inc"))
	if list, _ := s.follow(stream, nil); !strings.Contains(list[len(list)-1].Message, "known: ink, glow") {
		t.Errorf("%s ended with %+v", id, list[len(list)-1])
	}
	checkLoRAResume(t, s, start, request(40, "ink"))
}

// checkLoRAResume kills the server in the middle of a picture.
func checkLoRAResume(t *testing.T, s *server, start func() *server, request fields) {
	t.Helper()
	request["id"] = "one"
	_, stream := s.post(request)
	s.replay(stream, 0, func(e placedEvent) bool { return e.Step == 20 })
	s.kill()
	s = start()
	s.replay(stream, 0, nil)
	if !strings.Contains(s.log.String(), "go on from a checkpoint") {
		t.Error("the log does not say that the job went on from a checkpoint")
	}
	request["id"] = "undisturbed"
	_, undisturbed := s.post(request)
	if got := s.ask(http.MethodGet, "/v1/jobs/one/image", nil); !bytes.Equal(got.body, s.finished(undisturbed)) {
		t.Error("the picture is not that of an undisturbed run")
	}
	var report job.Report
	s.get("/v1/jobs/one", &report)
	if len(report.LoRAs) != 1 || report.LoRAs[0].Name != "ink" || report.LoRAs[0].Matched == 0 || len(report.LoRAs[0].LeftOut) != 1 {
		t.Errorf("the record tells %+v", report.LoRAs)
	}
}
