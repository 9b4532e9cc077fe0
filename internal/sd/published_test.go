package sd

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waggle/internal/weights"
)

// declared is a source that has every tensor a graph asks for, without numbers.
type declared map[string][]int

func (d declared) Declare(name string, shape ...int) { d[name] = shape }

func (d declared) Names() []string { return slices.Sorted(maps.Keys(d)) }

func (d declared) Tensor(name string) (weights.Tensor, bool) {
	shape, ok := d[name]
	return weights.Tensor{Name: name, DType: weights.F16, Shape: shape}, ok
}

func (d declared) parameters() int {
	total := 0
	for _, shape := range d {
		n := 1
		for _, extent := range shape {
			n *= extent
		}
		total += n
	}
	return total
}

// Configurations as published, shortened to what differs from the defaults of their classes.
const (
	sd15UNet = `{"cross_attention_dim":768,"sample_size":64}`
	sd21UNet = `{"cross_attention_dim":1024,"attention_head_dim":[5,10,20,20],"use_linear_projection":true,"sample_size":96}`
	sdxlUNet = `{"block_out_channels":[320,640,1280],"down_block_types":["DownBlock2D","CrossAttnDownBlock2D","CrossAttnDownBlock2D"],
"up_block_types":["CrossAttnUpBlock2D","CrossAttnUpBlock2D","UpBlock2D"],"transformer_layers_per_block":[1,2,10],
"attention_head_dim":[5,10,20],"cross_attention_dim":2048,"use_linear_projection":true,"addition_embed_type":"text_time",
"addition_time_embed_dim":256,"projection_class_embeddings_input_dim":2816,"sample_size":128}`
	inpaintUNet = `{"cross_attention_dim":768,"in_channels":9,"sample_size":64}`
	// What is the same in all that were distilled from SDXL, and in all of three levels.
	xl = `"block_out_channels":[320,640,1280],"attention_head_dim":[5,10,20],"cross_attention_dim":2048,"addition_embed_type":"text_time",
"addition_time_embed_dim":256,"projection_class_embeddings_input_dim":2816,"down_block_types":["DownBlock2D","CrossAttnDownBlock2D",
"CrossAttnDownBlock2D"],"up_block_types":["CrossAttnUpBlock2D","CrossAttnUpBlock2D","UpBlock2D"]`
	ssdUNet = `{` + xl + `,"mid_block_type":"UNetMidBlock2D","transformer_layers_per_block":[0,[2,2],[4,4]],
"reverse_transformer_layers_per_block":[[4,4,10],[2,1,1],0]}`
	vegaUNet = `{` + xl + `,"mid_block_type":"UNetMidBlock2D","transformer_layers_per_block":[0,[1,1],[2,2]],
"reverse_transformer_layers_per_block":[[2,2,2],[1,1,1],0]}`
	koalaUNet  = `{` + xl + `,"layers_per_block":1,"mid_block_type":null,"transformer_layers_per_block":[1,2,5]}`
	koala1UNet = `{` + xl + `,"layers_per_block":1,"transformer_layers_per_block":[1,2,6]}`
	sdxsUNet   = `{"cross_attention_dim":768,"layers_per_block":1,"mid_block_type":null,"block_out_channels":[320,640,1280],
"attention_head_dim":[5,10,20],"down_block_types":["DownBlock2D","CrossAttnDownBlock2D","CrossAttnDownBlock2D"],
"up_block_types":["CrossAttnUpBlock2D","CrossAttnUpBlock2D","UpBlock2D"]}`
	sdxs09UNet = `{"cross_attention_dim":1024,"layers_per_block":1,"mid_block_type":null,"block_out_channels":[320,640,1280],
"attention_head_dim":[5,10,20],"down_block_types":["CrossAttnDownBlock2D","CrossAttnDownBlock2D","CrossAttnDownBlock2D"],
"up_block_types":["CrossAttnUpBlock2D","CrossAttnUpBlock2D","CrossAttnUpBlock2D"],"only_cross_attention":[true,false,false]}`
	// A distilled SD 1.x: one residual block a level, no middle, three levels.
	tinyUNet = `{"cross_attention_dim":768,"layers_per_block":1,"mid_block_type":null,"block_out_channels":[320,640,1280],
"down_block_types":["CrossAttnDownBlock2D","CrossAttnDownBlock2D","CrossAttnDownBlock2D"],
"up_block_types":["CrossAttnUpBlock2D","CrossAttnUpBlock2D","CrossAttnUpBlock2D"]}`
)

// TestPublishedUNets: from its published configuration each UNet has the published number of parameters, and detection from
// those tensors alone gives the same shape back.
func TestPublishedUNets(t *testing.T) {
	for _, c := range []struct {
		name, config, family string
		parameters           int
	}{
		{"SD 1.5", sd15UNet, "sd1", 859_520_964},
		{"SD 2.1", sd21UNet, "sd2", 865_910_724},
		{"SDXL base", sdxlUNet, "sdxl", 2_567_463_684},
		{"SD 1.5 inpainting", inpaintUNet, "sd1", 859_520_964 + 5*9*320},
		{"InstructPix2Pix", `{"cross_attention_dim":768,"in_channels":8}`, "sd1", 859_532_484},
		{"LCM", `{"cross_attention_dim":768,"time_cond_proj_dim":256}`, "sd1", 859_602_884},
		{"LCM XL", `{` + xl + `,"transformer_layers_per_block":[1,2,10],"time_cond_proj_dim":256}`, "sdxl", 2_567_545_604},
		{"SDXL inpainting", `{` + xl + `,"transformer_layers_per_block":[1,2,10],"in_channels":9}`, "sdxl", 2_567_478_084},
		{"small-sd", `{"cross_attention_dim":768,"layers_per_block":1,"mid_block_type":null}`, "sd1", 482_346_884},
		{"tiny-sd", tinyUNet, "sd1", 323_384_964},
		{"SSD-1B", ssdUNet, "sdxl", 1_331_334_404},
		{"Segmind Vega", vegaUNet, "sdxl", 745_225_604},
		{"KOALA 700M", koalaUNet, "sdxl", 782_822_724},
		{"KOALA 1B", koala1UNet, "sdxl", 1_161_184_324},
		{"SDXS", sdxsUNet, "sdxs", 315_746_244},
		{"SDXS 0.9", sdxs09UNet, "sd2", 328_177_284},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, err := parseUNet([]byte(c.config))
			if err != nil {
				t.Fatal(err)
			}
			tensors := declared{}
			if err := unetGraph(network[UNetConfig]{config, tensors}, 2, 64, 64, 77).Err(); err != nil {
				t.Fatal(err)
			}
			if got := tensors.parameters(); c.parameters > 0 && got != c.parameters {
				t.Errorf("%d parameters, published are %d", got, c.parameters)
			}
			if c.family == "sd1" || c.family == "sdxs" { // a graph takes a linear's weight for a 1×1 convolution's
				for name, shape := range tensors {
					if len(shape) == 2 && len(name) > 15 && name[len(name)-15:] == ".proj_in.weight" {
						tensors[name] = append(slices.Clone(shape), 1, 1)
					}
				}
			}
			f := probe{tensors}.family()
			got, err := detectUNet(tensors, f)
			if err != nil || f.name != c.family {
				t.Fatalf("family %s, error %v", f.name, err)
			}
			got.SampleSize = config.SampleSize
			if diff := cmp.Diff(config, got); diff != "" {
				t.Errorf("configured and detected:\n%s", diff)
			}
		})
	}
}

func TestPublishedTextEncodersAndVAE(t *testing.T) {
	for _, c := range []struct {
		name, config string
		parameters   int
	}{
		{"CLIP ViT-L", `{"hidden_size":768,"intermediate_size":3072,"num_hidden_layers":12,"num_attention_heads":12}`, 123_060_480},
		{"OpenCLIP ViT-H, 23 layers", `{"hidden_size":1024,"intermediate_size":4096,"num_hidden_layers":23,"num_attention_heads":16,
"hidden_act":"gelu"}`, 340_387_840},
		{"OpenCLIP ViT-bigG", `{"architectures":["CLIPTextModelWithProjection"],"hidden_size":1280,"intermediate_size":5120,
"num_hidden_layers":32,"num_attention_heads":20,"hidden_act":"gelu","projection_dim":1280}`, 694_659_840},
	} {
		config, err := parseText([]byte(c.config))
		if err != nil {
			t.Fatal(err)
		}
		tensors := declared{
			"text_model.embeddings.token_embedding.weight":    {config.Vocabulary, config.Hidden},
			"text_model.embeddings.position_embedding.weight": {config.Positions, config.Hidden},
		}
		if err := textGraph(network[TextConfig]{config, tensors}, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if got := tensors.parameters(); got != c.parameters {
			t.Errorf("%s: %d parameters, published are %d", c.name, got, c.parameters)
		}
		got, err := detectText(tensors, sd2)
		config.ContextSkip = max(0, config.Layers-sd2.textLayers) // whole encoders have a layer that folders leave out
		if diff := cmp.Diff(config, got); diff != "" || err != nil {
			t.Errorf("%s: configured and detected (%v):\n%s", c.name, err, diff)
		}
	}
	config, err := parseVAE([]byte(`{"block_out_channels":[128,256,512,512],"layers_per_block":2}`))
	if err != nil {
		t.Fatal(err)
	}
	tensors := declared{"post_quant_conv.weight": {4, 4}, "post_quant_conv.bias": {4}, "quant_conv.weight": {8, 8}, "quant_conv.bias": {8}}
	n := network[VAEConfig]{config, tensors}
	if err := decodeGraph(n, 64, 64).Err(); err != nil {
		t.Fatal(err)
	}
	if err := encodeGraph(n, 64, 64).Err(); err != nil {
		t.Fatal(err)
	}
	if got := tensors.parameters(); got != 83_653_863 {
		t.Errorf("VAE: %d parameters, published are 83653863", got)
	}
	if got, err := detectVAE(tensors, sd1); err != nil || !cmp.Equal(got, config) {
		t.Errorf("VAE: detected %+v (%v), configured %+v", got, err, config)
	}
}

// TestLooksLikeV: a wide spread of one bias marks SD 2.x models that predict v.
func TestLooksLikeV(t *testing.T) {
	for _, c := range []struct {
		values []float32
		want   bool
	}{{[]float32{0.2, -0.2, 0.2, -0.2}, true}, {[]float32{0.55, 0.5, 0.45}, false}, {nil, false}} {
		data := make([]byte, 4*len(c.values))
		for i, v := range c.values {
			putFloat(data[4*i:], v)
		}
		set, err := weights.NewSet([]weights.Tensor{{Name: "output_blocks.11.1.transformer_blocks.0.norm1.bias", DType: weights.F32,
			Shape: []int{len(c.values)}, Data: data}})
		if err != nil {
			t.Fatal(err)
		}
		if got := (probe{set}).looksLikeV(); got != c.want {
			t.Errorf("%v: %v, want %v", c.values, got, c.want)
		}
	}
}

func putFloat(b []byte, v float32) { binary.LittleEndian.PutUint32(b, math.Float32bits(v)) }
