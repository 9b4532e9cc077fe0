package main

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"waggle/internal/goldens"
)

// TestBadInput: every mistake is answered by one line that says what is wrong, and where, and by a code.
func TestBadInput(t *testing.T) {
	needAdapter(t)
	for _, row := range []struct {
		name  string
		args  []string
		code  int
		words []string
	}{
		{"unknown flag", []string{"generate", "x", "--nonsense"}, exitUsage, []string{"--nonsense", "--help"}},
		{"unknown verb", []string{"paint", "x"}, exitUsage, []string{"paint", "--help"}},
		{"no prompt", []string{"generate"}, exitUsage, []string{"<prompt>"}},
		{"two prompts", []string{"generate", "x", "y"}, exitUsage, []string{"y"}},
		{"unknown model", []string{"generate", "x", "--model", "tiny-shape"}, exitFailed, []string{`"tiny-shape"`, "tiny-shapes"}},
		{"missing model file", []string{"generate", "x", "--model", "/no/such/model.safetensors"}, exitFailed, []string{"/no/such/model.safetensors"}},
		{"unknown random model", []string{"generate", "x", "--model", "random:none"}, exitFailed, []string{`"none"`, "sd15"}},
		{"unknown sampler", []string{"generate", "x", "--sampler", "blah"}, exitFailed, []string{`"blah"`, "euler", "ddim", "dpmpp_2m"}},
		{"unknown schedule", []string{"generate", "x", "--schedule", "blah"}, exitFailed, []string{`"blah"`, "normal", "karras"}},
		{"unknown dialect", []string{"generate", "x", "--dialect", "blah"}, exitUsage, []string{"--dialect", "comfy"}},
		{"unknown kernels", []string{"generate", "x", "--kernels", "blah"}, exitUsage, []string{"--kernels", "subgroup"}},
		{"unknown adapter", []string{"generate", "x", "--gpu", "blah"}, exitFailed, []string{`"blah"`, "0: "}},
		{"size no multiple", []string{"generate", "x", "--size", "132x128"}, exitFailed, []string{"width", "multiple of 8", "132"}},
		{"height no multiple", []string{"generate", "x", "--size", "128x129"}, exitFailed, []string{"height", "multiple of 8", "129"}},
		{"size too small", []string{"generate", "x", "--size", "8x128"}, exitFailed, []string{"width", "64 to 2048"}},
		{"size too large", []string{"generate", "x", "--size", "128x4096"}, exitFailed, []string{"height", "64 to 2048", "4096"}},
		{"size garbage", []string{"generate", "x", "--size", "big"}, exitFailed, []string{"--size", `"big"`, "512x512"}},
		{"size half", []string{"generate", "x", "--size", "128x"}, exitFailed, []string{"--size", `"128x"`}},
		{"size with more", []string{"generate", "x", "--size", "128x128 ."}, exitFailed, []string{"--size"}},
		{"size overflow", []string{"generate", "x", "--size", "99999999999999999999"}, exitFailed, []string{"--size"}},
		{"steps 0", []string{"generate", "x", "--steps", "0"}, exitFailed, []string{"steps", "1 to 150", "0"}},
		{"steps 151", []string{"generate", "x", "--steps", "151"}, exitFailed, []string{"steps", "1 to 150", "151"}},
		{"steps no number", []string{"generate", "x", "--steps", "many"}, exitUsage, []string{"--steps", `"many"`}},
		{"guidance", []string{"generate", "x", "--guidance", "20.5"}, exitFailed, []string{"guidance", "20.5"}},
		{"guidance no number", []string{"generate", "x", "--guidance", "NaN"}, exitFailed, []string{"guidance"}},
		{"seed", []string{"generate", "x", "--seed=-1"}, exitUsage, []string{"--seed", "-1"}},
		{"batch 0", []string{"generate", "x", "--batch", "0"}, exitFailed, []string{"batch", "1 to 64"}},
		{"empty prompt", []string{"generate", ""}, exitFailed, []string{"prompt", "empty"}},
		{"blank prompt", []string{"generate", " \n\t"}, exitFailed, []string{"prompt", "empty"}},
		{"long prompt", []string{"generate", strings.Repeat("a", 100<<10)}, exitFailed, []string{"Prompt too long", "65536"}},
		{"5000 words", []string{"generate", strings.Repeat("star ", 5000)}, exitFailed, []string{"Prompt too long", "5000 words"}},
		{"5000 tokens", []string{"generate", strings.Repeat("?!", 2500)}, exitFailed, []string{"Prompt too long", "5000 tokens", "shorten"}},
		{"long negative", []string{"generate", "x", "--negative", strings.Repeat("star ", 5000)}, exitFailed, []string{"Negative prompt too long"}},
		{"output folder missing", []string{"generate", "x", "-o", "no/such/out.png"}, exitFailed, []string{"no/such/out.png", "folder"}},
		{"output is a folder", []string{"generate", "x", "-o", "."}, exitFailed, []string{"folder"}},
		{"serve to strangers", []string{"serve", "--bind", "0.0.0.0"}, exitFailed, []string{"0.0.0.0", "--token"}},
		{"serve to strangers, IPv6", []string{"serve", "--bind", "::"}, exitFailed, []string{"::", "--token"}},
		{"serve everywhere", []string{"serve", "--bind", ""}, exitFailed, []string{"--token"}},
		{"port", []string{"serve", "--port", "70000"}, exitFailed, []string{"--port 70000", "65535"}},
		{"address of another", []string{"serve", "--port", "0", "--token", "t", "--bind", "192.0.2.1"}, exitFailed, []string{"192.0.2.1", "--bind"}},
		{"no verb and an unknown flag", []string{"--nonsense"}, exitUsage, []string{"--nonsense"}},
		{"bench of nothing", []string{"bench", "--model", "none"}, exitFailed, []string{`"none"`, "tiny-shapes"}},
		{"bench steps", []string{"bench", "--steps=-1"}, exitFailed, []string{"steps", "-1"}},
		{"bench runs", []string{"bench", "--runs=-1"}, exitFailed, []string{"--runs", "-1"}},
		{"model to look into", []string{"models", "inspect", "none"}, exitFailed, []string{`"none"`, "tiny-shapes"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			fail(t, command(t, row.args...), row.code, row.words...)
		})
	}
}

// TestBadModelFile gives every damaged file of the golden set as a model. Some are whole, but none is a Stable Diffusion model;
// sound upscalers are described.
func TestBadModelFile(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(goldens.Dir(t), "bad", "*.*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no damaged files: %v", err)
	}
	marker := filepath.Join(os.TempDir(), "GOLDEN_PICKLE_EXECUTED")
	os.Remove(marker) // left by whoever ran a file before
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
			if slices.Contains(soundUpscalers, name) {
				succeed(t, command(t, "models", "inspect", file))
				return
			}
			fail(t, command(t, "models", "inspect", file), exitFailed, name)
			if !testing.Short() && strings.HasPrefix(name, "t") {
				fail(t, command(t, "generate", "x", "--model", file), exitFailed, name)
			}
		})
	}
	t.Cleanup(func() {
		for _, file := range []string{marker, filepath.Base(marker)} {
			if _, err := os.Stat(file); err == nil {
				t.Errorf("a pickle was run: it left %s", file)
			}
		}
	})
}

// soundUpscalers are files that are unusual and nothing worse.
var soundUpscalers = []string{"esrgan_tiny-f32", "esrgan_tiny-bf16", "esrgan_tiny-extra-key"}

// TestBadModelFolder damages copies of the built-in model.
func TestBadModelFolder(t *testing.T) {
	needAdapter(t)
	set := func(file, member string, value any) func(*testing.T, string) {
		return func(t *testing.T, dir string) { setMember(t, filepath.Join(dir, file), member, value) }
	}
	write := func(file, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(file string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, file)); err != nil {
				t.Fatal(err)
			}
		}
	}
	const unet, vae, text = "unet/config.json", "vae/config.json", "text_encoder/config.json"
	for name, row := range map[string]struct {
		damage func(*testing.T, string)
		words  []string
	}{
		"cut UNet":               {cutInHalf("unet/diffusion_pytorch_model.safetensors"), []string{"diffusion_pytorch_model.safetensors", "cut or damaged"}},
		"cut text encoder":       {cutInHalf("text_encoder/model.safetensors"), []string{"text_encoder", "cut or damaged"}},
		"no VAE":                 {remove("vae"), []string{"vae"}},
		"no VAE weights":         {remove("vae/diffusion_pytorch_model.safetensors"), []string{"vae"}},
		"no UNet":                {remove("unet"), []string{"unet"}},
		"no text encoder":        {remove("text_encoder"), []string{"text_encoder"}},
		"no merges":              {remove("tokenizer/merges.txt"), []string{"merges"}},
		"no tokenizer":           {remove("tokenizer"), []string{"token"}},
		"UNet is the VAE's":      {copyOver("vae/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors"), []string{"unet", "missing"}},
		"heads 7":                {set(unet, "attention_head_dim", 7), []string{"attention_head_dim", "7"}},
		"heads 0":                {set(unet, "attention_head_dim", 0), []string{"attention_head_dim"}},
		"heads -2":               {set(unet, "attention_head_dim", -2), []string{"attention_head_dim", "-2"}},
		"heads huge":             {set(unet, "attention_head_dim", 1e15), []string{"attention_head_dim"}},
		"heads text":             {set(unet, "attention_head_dim", "two"), []string{"attention_head_dim"}},
		"text heads 7":           {set(text, "num_attention_heads", 7), []string{"num_attention_heads", "7"}},
		"groups 0":               {set(unet, "norm_num_groups", 0), []string{"norm_num_groups"}},
		"groups 5":               {set(unet, "norm_num_groups", 5), []string{"5"}},
		"channels":               {set(unet, "block_out_channels", []int{48, 80}), []string{"down_block_types", "2 levels"}},
		"no channels":            {set(unet, "block_out_channels", []int{}), []string{"block_out_channels"}},
		"other channels":         {set(unet, "block_out_channels", []int{64, 80, 112}), []string{"unet", "want [256 64]"}},
		"channels huge":          {set(unet, "block_out_channels", []int{1 << 40, 80, 112}), []string{"block_out_channels"}},
		"layers huge":            {set(unet, "layers_per_block", 1e9), []string{"layers_per_block"}},
		"sample size -1":         {set(unet, "sample_size", -1), []string{"sample_size"}},
		"sample size huge":       {set(unet, "sample_size", 1e9), []string{"sample_size"}},
		"scale 0":                {set(vae, "scaling_factor", 0), []string{"scaling_factor"}},
		"latent channels":        {set(vae, "latent_channels", 16), []string{"latent"}},
		"activation":             {set(text, "hidden_act", "tanh"), []string{"hidden_act", "tanh"}},
		"block":                  {set(unet, "down_block_types", []string{"A", "B", "C"}), []string{"down_block_types"}},
		"UNet config not JSON":   {write(unet, "{"), []string{"unet", "config.json"}},
		"UNet config empty":      {write(unet, ""), []string{"unet", "config.json"}},
		"UNet config a list":     {write(unet, "[]"), []string{"unet", "config.json"}},
		"scheduler not JSON":     {write("scheduler/scheduler_config.json", "beta"), []string{"scheduler_config.json"}},
		"scheduler betas":        {set("scheduler/scheduler_config.json", "beta_end", 2), []string{"beta_end"}},
		"scheduler no steps":     {set("scheduler/scheduler_config.json", "num_train_timesteps", 0), []string{"num_train_timesteps"}},
		"scheduler many steps":   {set("scheduler/scheduler_config.json", "num_train_timesteps", 1e12), []string{"num_train_timesteps"}},
		"scheduler prediction":   {set("scheduler/scheduler_config.json", "prediction_type", "magic"), []string{"prediction_type", "magic"}},
		"vocabulary not JSON":    {write("tokenizer/vocab.json", "<html>"), []string{"vocab.json"}},
		"vocabulary of one word": {write("tokenizer/vocab.json", `{"a":0}`), []string{"vocab"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := builtinCopy(t)
			row.damage(t, dir)
			fail(t, command(t, "generate", "a red circle", "--steps", "1", "--json", "--model", dir), exitFailed, append(row.words, "copy")...)
		})
	}
}

func cutInHalf(file string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		path := filepath.Join(dir, file)
		if err := os.Truncate(path, int64(len(readFile(t, path))/2)); err != nil {
			t.Fatal(err)
		}
	}
}

func copyOver(from, to string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.WriteFile(filepath.Join(dir, to), readFile(t, filepath.Join(dir, from)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func setMember(t *testing.T, path, member string, value any) {
	t.Helper()
	var config map[string]any
	if err := json.Unmarshal(readFile(t, path), &config); err != nil {
		t.Fatal(err)
	}
	config[member] = value
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestNoAdapter hides every Vulkan driver.
func TestNoAdapter(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("drivers are found in another way here")
	}
	for _, args := range [][]string{{"generate", "x"}, {"doctor"}, {"bench"}} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			c := command(t, args...)
			c.Env = append(c.Env, "VK_ICD_FILENAMES=/nonexistent", "VK_DRIVER_FILES=/nonexistent")
			fail(t, c, exitFailed, "no GPU adapter", "mesa-vulkan-drivers")
		})
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	fail(t, command(t, "serve", "--port", port), exitFailed, port, "address already in use", "--port")
}

// TestOutOfMemory asks for far more than there is: of the system's memory, and of what the process may have.
func TestOutOfMemory(t *testing.T) {
	needAdapter(t)
	if runtime.GOOS != "linux" {
		t.Skip("needs a limit on memory")
	}
	if raceDetector {
		t.Skip("the race detector takes more address space than the limit")
	}
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	c := command(t)
	c.Path, c.Args = shell, []string{"sh", "-c", `ulimit -v 3500000; exec "$0" "$@"`, program,
		"generate", "x", "--json", "--model", "random:sd15", "--size", "2048x2048"}
	o := finish(t, c)
	if o.code != exitFailed {
		t.Errorf("exit code %d, want %d", o.code, exitFailed)
	}
	oneClearLine(t, o.err, "memory")
	if names := entries(t, c.Dir); len(names) > 0 {
		t.Errorf("left %q", names)
	}
}
