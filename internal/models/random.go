package models

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"waggle/internal/weights"
)

// RandomPrefix marks the names of models with random weights, which exist to measure memory and speed: "random:sd15".
const RandomPrefix = "random:"

// randomConfigs are the configurations of well-known models, without their weights.
var randomConfigs = map[string]struct{ unet, vae, text, scheduler string }{
	"sd15": {
		unet: `{"in_channels":4,"out_channels":4,"block_out_channels":[320,640,1280,1280],"layers_per_block":2,"attention_head_dim":8,
"cross_attention_dim":768,"norm_num_groups":32,"norm_eps":1e-5,"flip_sin_to_cos":true,"freq_shift":0,"sample_size":64,
"down_block_types":["CrossAttnDownBlock2D","CrossAttnDownBlock2D","CrossAttnDownBlock2D","DownBlock2D"],
"up_block_types":["UpBlock2D","CrossAttnUpBlock2D","CrossAttnUpBlock2D","CrossAttnUpBlock2D"]}`,
		vae: `{"in_channels":3,"out_channels":3,"latent_channels":4,"block_out_channels":[128,256,512,512],"layers_per_block":2,
"norm_num_groups":32,"scaling_factor":0.18215,"sample_size":512,
"down_block_types":["DownEncoderBlock2D","DownEncoderBlock2D","DownEncoderBlock2D","DownEncoderBlock2D"],
"up_block_types":["UpDecoderBlock2D","UpDecoderBlock2D","UpDecoderBlock2D","UpDecoderBlock2D"]}`,
		text: `{"architectures":["CLIPTextModel"],"hidden_size":768,"intermediate_size":3072,"num_hidden_layers":12,"num_attention_heads":12,
"vocab_size":49408,"max_position_embeddings":77,"hidden_act":"quick_gelu","layer_norm_eps":1e-5,"bos_token_id":49406,"eos_token_id":49407,"pad_token_id":49407}`,
		scheduler: `{"num_train_timesteps":1000,"beta_start":0.00085,"beta_end":0.012,"beta_schedule":"scaled_linear","prediction_type":"epsilon",
"steps_offset":1,"set_alpha_to_one":false,"clip_sample":false,"timestep_spacing":"leading"}`,
	},
}

// Random is a model of the given shape whose weights are random numbers. Its pictures mean nothing.
func Random(shape string) (*Model, error) {
	c, ok := randomConfigs[shape]
	if !ok {
		return nil, fmt.Errorf("no random model %q: there are %v", shape, slices.Sorted(maps.Keys(randomConfigs)))
	}
	part := func(config string) (*Part, *randomTensors) {
		tensors := &randomTensors{shapes: map[string][]int{}}
		return &Part{Config: []byte(config), Tensors: tensors}, tensors
	}
	unet, _ := part(c.unet)
	vae, _ := part(c.vae)
	text, tensors := part(c.text)
	// The sizes of lookup tables are not told by the graph that reads them.
	var sizes struct {
		Hidden     int `json:"hidden_size"`
		Vocabulary int `json:"vocab_size"`
		Positions  int `json:"max_position_embeddings"`
	}
	if err := json.Unmarshal(text.Config, &sizes); err != nil {
		return nil, fmt.Errorf("random model %s: %w", shape, err)
	}
	tensors.Declare("text_model.embeddings.token_embedding.weight", sizes.Vocabulary, sizes.Hidden)
	tensors.Declare("text_model.embeddings.position_embedding.weight", sizes.Positions, sizes.Hidden)
	return &Model{Name: RandomPrefix + shape, UNet: unet, VAE: vae, Text: text, Scheduler: []byte(c.scheduler)}, nil
}

// randomTensors makes up every tensor that it has been told the shape of, as f16 of about ±0.01.
type randomTensors struct {
	mu     sync.Mutex
	shapes map[string][]int
}

// Declare tells the shape of a tensor.
func (r *randomTensors) Declare(name string, shape ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shapes[name] = shape
}

// Names of the tensors declared so far.
func (r *randomTensors) Names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.shapes))
}

// Tensor is a stretch of one pool of random numbers, found by the name.
func (r *randomTensors) Tensor(name string) (weights.Tensor, bool) {
	r.mu.Lock()
	shape, ok := r.shapes[name]
	r.mu.Unlock()
	if !ok {
		return weights.Tensor{}, false
	}
	t := weights.Tensor{Name: name, DType: weights.F16, Shape: shape}
	pool := randomPool()
	size := 2 * t.Elements()
	if size > len(pool) {
		return weights.Tensor{}, false
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	from := 0
	if room := (len(pool) - size) / 2; room > 0 {
		from = int(h.Sum64()%uint64(room)) * 2
	}
	t.Data = pool[from:][:size]
	return t, true
}

// randomPool is 80 MB of f16: the largest tensor of Stable Diffusion 1.5 has 76.
var randomPool = sync.OnceValue(func() []byte {
	pool := make([]byte, 80<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(pool); i += 8 {
		v := r.Uint64()
		for k := range 4 { // sign and fraction at random, magnitude 2^-8…2^-7
			h := uint16(v>>(16*k))&0x83ff | 7<<10
			pool[i+2*k], pool[i+2*k+1] = byte(h), byte(h>>8)
		}
	}
	return pool
})
