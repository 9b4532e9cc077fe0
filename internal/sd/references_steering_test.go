package sd

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// TestGoldenSteering runs a ControlNet for a narrow UNet and one for a deep one, a T2I-Adapter and a TAESD, beside diffusers'.
func TestGoldenSteering(t *testing.T) {
	with := testGPU(t, testDevice(t), nn.Options{})
	var index struct{ Cases map[string]forwardCase }
	goldens.JSON(t, goldens.Reference(t, "steering/index.json"), &index)
	all := goldens.Tensors(t, goldens.Reference(t, "steering/steering.safetensors"))
	for name, part := range goldens.ReferenceNetworks(t) {
		t.Run(name, func(t *testing.T) {
			f := &forward{T: t, with: with, c: index.Cases[name], name: name, in: map[string]goldens.Tensor{}}
			for key, tensor := range all {
				if inner, ok := strings.CutPrefix(key, name+"."); ok {
					f.in[inner] = tensor
				}
			}
			if f.c.Model != "" {
				n, _, err := readNetworks(openReference(t, f.c.Model))
				f.must(err)
				f.networks = n
			}
			f.steering(part)
		})
	}
}

// steering runs one network of a reference.
func (f *forward) steering(part goldens.ReferencePart) {
	path := filepath.Join(f.TempDir(), "network.safetensors")
	goldens.WriteFormula(f, path, part.Tensors)
	file, err := weights.Open(path)
	f.must(err)
	f.Cleanup(func() { file.Close() })
	switch {
	case f.name == "adapter":
		n, err := readAdapter(file, part.Config)
		f.must(err)
		detected, err := detectAdapter(n.tensors)
		f.same(detected, n.config, err)
		f.adapter(n)
	case f.name == "tiny":
		n, err := readTiny(file)
		f.must(err)
		f.tiny(n, n)
	default:
		n, err := readControl(file, part.Config, sd1)
		f.must(err)
		like := family{groups: n.config.UNet.Groups, heads: 1}
		detected, err := detectControl(n.tensors, like)
		detected.UNet.Heads = n.config.UNet.Heads
		f.same(detected, n.config, err)
		f.control(n)
	}
}

// same compares what tensors say of a network with what its configuration does.
func (f *forward) same(got, want any, err error) {
	f.Helper()
	if err != nil || !reflect.DeepEqual(got, want) {
		f.Errorf("off the tensors %+v, %v\nconfigured %+v", got, err, want)
	}
}

// TestSteeringErrors: files and configurations of other kinds are refused by what is wrong with them.
func TestSteeringErrors(t *testing.T) {
	other, err := weights.NewSet([]weights.Tensor{{Name: "conv.weight", Shape: []int{1}, DType: weights.F16, Data: []byte{0, 0}}})
	if err != nil {
		t.Fatal(err)
	}
	of := func(name string) func() error {
		return map[string]func() error{
			"controlnet": func() error { _, err := readControl(other, nil, sd1); return err },
			"adapter":    func() error { _, err := readAdapter(other, nil); return err },
			"taesd":      func() error { _, err := readTiny(other); return err },
		}[name]
	}
	control := func(config string) func() error {
		return func() error { _, err := parseControl([]byte(config)); return err }
	}
	adapter := func(config string) func() error {
		return func() error { _, err := parseAdapter([]byte(config)); return err }
	}
	for want, try := range map[string]func() error{
		"input_hint_block.0.weight": of("controlnet"), "body.0.block1.weight": of("adapter"), "of another kind": of("taesd"),
		"controlnet_conditioning_channel_order":              control(`{"controlnet_conditioning_channel_order": "bgr"}`),
		"global_pool_conditions":                             control(`{"global_pool_conditions": true}`),
		"levels of conditioning_embedding_out_channels is 0": control(`{"conditioning_embedding_out_channels": []}`),
		"conditioning_embedding_out_channels is 1000000000":  control(`{"conditioning_embedding_out_channels": [1000000000]}`),
		"block type":       control(`{"down_block_types": ["A", "B", "C", "D"]}`),
		"adapter_type":     adapter(`{"adapter_type": "light_adapter"}`),
		"channels is 0":    adapter(`{"channels": [0]}`),
		"num_res_blocks":   adapter(`{"num_res_blocks": 1000000000}`),
		"downscale_factor": adapter(`{"downscale_factor": 0}`),
		"config.json":      adapter(`[`),
	} {
		if err := try(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to name %s", err, want)
		}
	}
}
