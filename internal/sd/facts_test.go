package sd

import (
	"slices"
	"strings"
	"testing"

	"waggle/internal/models"
)

// factsOf describes the built-in model after a change.
func factsOf(t *testing.T, change func(*models.Model)) (map[string]Fact, Info, error) {
	t.Helper()
	m, err := models.Open("tiny-shapes")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	change(m)
	o, err := Describe(m)
	if err != nil {
		return nil, Info{}, err
	}
	facts := map[string]Fact{}
	for _, f := range o.Info().Facts {
		if _, twice := facts[f.Name]; twice || f.Source == "" {
			t.Errorf("fact %+v is there twice or has no source", f)
		}
		facts[f.Name] = f
	}
	return facts, o.Info(), nil
}

// TestPredictionSources: of those who say something of the prediction the owner is believed first, then configuration, marks,
// metadata, and what is usual.
func TestPredictionSources(t *testing.T) {
	yes, no := true, false
	bare := func(m *models.Model) { m.Scheduler = nil }
	for _, c := range []struct {
		name               string
		change             func(*models.Model)
		prediction, source string
		zero               string // its source; "" for none
	}{
		{"configuration", func(*models.Model) {}, "epsilon", fromScheduler, ""},
		{"usual", bare, "epsilon", fromFamily, ""},
		{"owner against configuration", func(m *models.Model) { m.Said = models.Said{Prediction: "v", ZeroSNR: &yes} }, "v_prediction", fromFlag, fromFlag},
		{"marks", func(m *models.Model) { bare(m); m.Rest.Marks = []string{"v_pred", "ztsnr"} }, "v_prediction", "tensor v_pred", "tensor v_pred"},
		{"one mark", func(m *models.Model) { bare(m); m.Rest.Marks = []string{"v_pred"} }, "v_prediction", "tensor v_pred", ""},
		{"configuration against marks", func(m *models.Model) { m.Rest.Marks = []string{"v_pred", "ztsnr"} }, "epsilon", fromScheduler, ""},
		{"owner against marks", func(m *models.Model) {
			bare(m)
			m.Rest.Marks, m.Said = []string{"v_pred", "ztsnr"}, models.Said{Prediction: "epsilon"}
		}, "epsilon", fromFlag, ""},
		{"owner against one mark", func(m *models.Model) {
			bare(m)
			m.Rest.Marks, m.Said = []string{"v_pred", "ztsnr"}, models.Said{ZeroSNR: &no}
		}, "v_prediction", "tensor v_pred", ""},
		{"metadata", func(m *models.Model) { bare(m); m.Metadata = map[string]string{"modelspec.prediction_type": "v"} }, "v_prediction", fromMetadata, ""},
		{"architecture", func(m *models.Model) {
			bare(m)
			m.Metadata = map[string]string{"modelspec.architecture": "stable-diffusion-v2-768-v"}
		}, "v_prediction", fromMetadata, ""},
		{"kohya's metadata", func(m *models.Model) {
			bare(m)
			m.Metadata = map[string]string{"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}
		}, "v_prediction", fromMetadata, fromMetadata},
		{"YAML", func(m *models.Model) { bare(m); m.Parameterization = "v" }, "v_prediction", fromYAML, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			facts, _, err := factsOf(t, c.change)
			if err != nil {
				t.Fatal(err)
			}
			if f := facts["prediction"]; f.Value != c.prediction || f.Source != c.source {
				t.Errorf("prediction %+v, want %s from %s", f, c.prediction, c.source)
			}
			if f := facts["zero terminal SNR"]; f.Source != c.zero {
				t.Errorf("zero terminal SNR %+v, want it from %q", f, c.zero)
			}
		})
	}
	_, _, err := factsOf(t, func(m *models.Model) { m.Said.ZeroSNR = &yes })
	if err == nil || !strings.Contains(err.Error(), "--prediction v") {
		t.Errorf("zero terminal SNR of a model that predicts noise: error %v must say what to do", err)
	}
}

// TestPace: few-step models are known by their scheduler, title or name, which is said, and have defaults of their own.
func TestPace(t *testing.T) {
	for _, c := range []struct {
		change         func(*models.Model)
		pace, source   string
		steps          int
		guidance       float64
		sampler, sched string
	}{
		{func(*models.Model) {}, "", "", 20, 5, "ddim", "normal"},
		{func(m *models.Model) { m.Name = "sd_xl_turbo_1.0_fp16" }, "turbo", fromName, 4, 1, "euler_ancestral", "sgm_uniform"},
		{func(m *models.Model) { m.Name = "mine/DreamShaperXL-Turbo" }, "turbo", fromName, 4, 1, "euler_ancestral", "sgm_uniform"},
		{func(m *models.Model) { m.Metadata = map[string]string{"modelspec.title": "A Lightning model"} }, "lightning", fromMetadata, 4, 1, "euler", "sgm_uniform"},
		{func(m *models.Model) { m.Scheduler = []byte(`{"_class_name":"LCMScheduler"}`) }, "lcm", fromScheduler, 4, 1, "lcm", "sgm_uniform"},
		{func(m *models.Model) { m.Name = "realcmix" }, "", "", 20, 5, "ddim", "normal"},
	} {
		facts, info, err := factsOf(t, c.change)
		if err != nil {
			t.Fatal(err)
		}
		if f := facts["distilled"]; f.Value != c.pace || f.Source != c.source {
			t.Errorf("pace %+v, want %s from %s", f, c.pace, c.source)
		}
		if d := info.Defaults; d.Steps != c.steps || d.Guidance != c.guidance || d.Sampler != c.sampler || d.Schedule != c.sched {
			t.Errorf("%s: defaults %+v", c.pace, d)
		}
	}
}

// TestSize: the side of a picture is the one in config.json, else in the metadata, else the usual one.
func TestSize(t *testing.T) {
	bare := func(m *models.Model) {
		m.UNet.Config = nil
		m.Metadata = map[string]string{"modelspec.resolution": "256x192"}
	}
	for _, c := range []struct {
		change func(*models.Model)
		want   string
		source string
	}{
		{func(*models.Model) {}, "128×128", fromConfig},
		{bare, "256×192", fromMetadata},
		{func(m *models.Model) { bare(m); m.Metadata["modelspec.resolution"] = "99999999999999999999x1" }, "128×128", fromFamily},
		{func(m *models.Model) { bare(m); m.Metadata = nil; m.Name = "sdxl-turbo" }, "512×512", "usual for its kind"},
	} {
		facts, _, err := factsOf(t, c.change)
		if f := facts["size"]; f.Value != c.want || f.Source != c.source || err != nil {
			t.Errorf("size %+v (%v), want %s from %s", f, err, c.want, c.source)
		}
	}
}

// TestFamilies: what is told apart by a few tensors, and what is refused.
func TestFamilies(t *testing.T) {
	const attention = "input_blocks.%.1.transformer_blocks.0.attn2.to_k.weight"
	at := func(block, format string) string { return strings.Replace(format, "%", block, 1) }
	middle := declared{"middle_block.0.in_layers.2.weight": {1}}
	for _, c := range []struct {
		name    string
		tensors declared
		refused string
	}{
		{"sd1", declared{at("1", attention): {320, 768}}, ""},
		{"sd2", declared{at("1", attention): {320, 1024}}, ""},
		{"sd2-unclip", declared{at("1", attention): {320, 1024}, "label_emb.0.0.weight": {1280, 2048}}, "unCLIP"},
		{"sdxl", declared{at("4", attention): {640, 2048}, "label_emb.0.0.weight": {1280, 2816}}, ""},
		{"sdxl-refiner", declared{at("4", attention): {768, 1280}, "label_emb.0.0.weight": {1536, 2560}}, "load the base model"},
		{"sdxs", declared{at("3", attention): {640, 768}, "input_blocks.2.0.op.weight": {320, 320, 3, 3}}, ""},
	} {
		if c.name != "sdxs" {
			for name, shape := range middle {
				c.tensors[name] = shape
			}
		}
		f := probe{c.tensors}.family()
		err := f.refuse(&models.Model{})
		if f.name != c.name || (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: got %s, refused: %v", c.name, f.name, err)
		}
	}
	for mark := range refusals {
		if _, _, err := factsOf(t, func(m *models.Model) { m.Rest.Marks = []string{mark} }); err == nil {
			t.Errorf("a model with tensor %s is not refused", mark)
		}
	}
}

// TestWholeOpenCLIP: the text encoder of Stable Diffusion 2 is used without the last layer of a whole one, whether the file
// has it or not.
func TestWholeOpenCLIP(t *testing.T) {
	for layers, skip := range map[int]int{23: 0, 24: 1} {
		tensors := declared{"text_model.embeddings.token_embedding.weight": {49408, 1024}, "text_model.embeddings.position_embedding.weight": {77, 1024}}
		for i := range layers {
			tensors[strings.Replace("text_model.encoder.layers.%.mlp.fc1.weight", "%", strings.TrimSpace(decimal(float64(i))), 1)] = []int{4096, 1024}
		}
		c, err := detectText(tensors, sd2)
		if err != nil || c.ContextSkip != skip || c.Layers != layers || c.Heads != 16 {
			t.Errorf("%d layers: %+v (%v), want %d left out", layers, c, err, skip)
		}
	}
}

// TestPaceDefaults: every default names a sampler and a schedule together, and can be drawn with.
func TestPaceDefaults(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	for _, f := range families {
		if _, err := p.settle(f.defaults); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
	for _, x := range paces {
		if _, err := p.settle(x.defaults); err != nil {
			t.Errorf("%s: %v", x.name, err)
		}
		if d := x.defaults; d.Steps == 0 || d.Guidance == 0 || d.Sampler == "" || d.Schedule == "" {
			t.Errorf("%s: %+v", x.name, d)
		}
	}
	if !slices.ContainsFunc(paces, func(x pace) bool { return x.name == "lcm" }) {
		t.Error("there is no pace for LCM")
	}
}
