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
var randomConfigs = map[string]struct{ unet, vae, text, text2, scheduler string }{
	"sd15": {
		unet: `{"in_channels":4,"out_channels":4,"block_out_channels":[320,640,1280,1280],"layers_per_block":2,"attention_head_dim":8,
"cross_attention_dim":768,"norm_num_groups":32,"norm_eps":1e-5,"flip_sin_to_cos":true,"freq_shift":0,"sample_size":64,
"down_block_types":["CrossAttnDownBlock2D","CrossAttnDownBlock2D","CrossAttnDownBlock2D","DownBlock2D"],
"up_block_types":["UpBlock2D","CrossAttnUpBlock2D","CrossAttnUpBlock2D","CrossAttnUpBlock2D"]}`,
		vae: randomVAE(0.18215),
		text: `{"architectures":["CLIPTextModel"],"hidden_size":768,"intermediate_size":3072,"num_hidden_layers":12,"num_attention_heads":12,
"vocab_size":49408,"max_position_embeddings":77,"hidden_act":"quick_gelu","layer_norm_eps":1e-5,"bos_token_id":49406,"eos_token_id":49407,"pad_token_id":49407}`,
		scheduler: randomScheduler("epsilon"),
	},
	"sd21": {
		unet: `{"in_channels":4,"out_channels":4,"block_out_channels":[320,640,1280,1280],"layers_per_block":2,"attention_head_dim":[5,10,20,20],
"cross_attention_dim":1024,"use_linear_projection":true,"norm_num_groups":32,"norm_eps":1e-5,"flip_sin_to_cos":true,"freq_shift":0,"sample_size":96,
"down_block_types":["CrossAttnDownBlock2D","CrossAttnDownBlock2D","CrossAttnDownBlock2D","DownBlock2D"],
"up_block_types":["UpBlock2D","CrossAttnUpBlock2D","CrossAttnUpBlock2D","CrossAttnUpBlock2D"]}`,
		vae: randomVAE(0.18215),
		text: `{"architectures":["CLIPTextModel"],"hidden_size":1024,"intermediate_size":4096,"num_hidden_layers":23,"num_attention_heads":16,
"vocab_size":49408,"max_position_embeddings":77,"hidden_act":"gelu","layer_norm_eps":1e-5,"bos_token_id":0,"eos_token_id":2,"pad_token_id":1}`,
		scheduler: randomScheduler("v_prediction"),
	},
	"sdxl": {
		unet: `{"in_channels":4,"out_channels":4,"block_out_channels":[320,640,1280],"layers_per_block":2,"attention_head_dim":[5,10,20],
"cross_attention_dim":2048,"use_linear_projection":true,"transformer_layers_per_block":[1,2,10],"addition_embed_type":"text_time",
"addition_time_embed_dim":256,"projection_class_embeddings_input_dim":2816,
"norm_num_groups":32,"norm_eps":1e-5,"flip_sin_to_cos":true,"freq_shift":0,"sample_size":128,
"down_block_types":["DownBlock2D","CrossAttnDownBlock2D","CrossAttnDownBlock2D"],
"up_block_types":["CrossAttnUpBlock2D","CrossAttnUpBlock2D","UpBlock2D"]}`,
		vae: randomVAE(0.13025),
		text: `{"architectures":["CLIPTextModel"],"hidden_size":768,"intermediate_size":3072,"num_hidden_layers":12,"num_attention_heads":12,
"vocab_size":49408,"max_position_embeddings":77,"hidden_act":"quick_gelu","layer_norm_eps":1e-5,"bos_token_id":0,"eos_token_id":2,"pad_token_id":1}`,
		text2: `{"architectures":["CLIPTextModelWithProjection"],"hidden_size":1280,"intermediate_size":5120,"num_hidden_layers":32,"num_attention_heads":20,
"projection_dim":1280,"vocab_size":49408,"max_position_embeddings":77,"hidden_act":"gelu","layer_norm_eps":1e-5,"bos_token_id":0,"eos_token_id":2,"pad_token_id":1}`,
		scheduler: randomScheduler("epsilon"),
	},
}

// randomVAE is the configuration of the autoencoder that all of them have, with its latents' factor.
func randomVAE(scale float64) string {
	return fmt.Sprintf(`{"in_channels":3,"out_channels":3,"latent_channels":4,"block_out_channels":[128,256,512,512],"layers_per_block":2,
"norm_num_groups":32,"scaling_factor":%v,"sample_size":512,
"down_block_types":["DownEncoderBlock2D","DownEncoderBlock2D","DownEncoderBlock2D","DownEncoderBlock2D"],
"up_block_types":["UpDecoderBlock2D","UpDecoderBlock2D","UpDecoderBlock2D","UpDecoderBlock2D"]}`, scale)
}

// randomScheduler is the configuration of the noise that all of them were trained with.
func randomScheduler(prediction string) string {
	return fmt.Sprintf(`{"num_train_timesteps":1000,"beta_start":0.00085,"beta_end":0.012,"beta_schedule":"scaled_linear","prediction_type":%q,
"steps_offset":1,"set_alpha_to_one":false,"clip_sample":false,"timestep_spacing":"leading"}`, prediction)
}

// Random is a model of the given shape whose weights are random numbers. Its pictures mean nothing.
func Random(shape string) (*Model, error) {
	c, ok := randomConfigs[shape]
	if !ok {
		return nil, fmt.Errorf("no random model %q: there are %v", shape, slices.Sorted(maps.Keys(randomConfigs)))
	}
	m := &Model{Name: RandomPrefix + shape, UNet: randomPart(c.unet), VAE: randomPart(c.vae), Scheduler: []byte(c.scheduler)}
	var err error
	if m.Text, err = randomText(c.text); err == nil && c.text2 != "" {
		m.Text2, err = randomText(c.text2)
	}
	if err != nil {
		return nil, fmt.Errorf("random model %s: %w", shape, err)
	}
	return m, nil
}

func randomPart(config string) *Part {
	return &Part{Config: []byte(config), Tensors: &randomTensors{shapes: map[string][]int{}}}
}

// randomText is a text encoder, whose lookup tables' sizes are not told by the graph that reads them.
func randomText(config string) (*Part, error) {
	var sizes struct {
		Hidden     int `json:"hidden_size"`
		Vocabulary int `json:"vocab_size"`
		Positions  int `json:"max_position_embeddings"`
	}
	if err := json.Unmarshal([]byte(config), &sizes); err != nil {
		return nil, err
	}
	p := randomPart(config)
	tensors := p.Tensors.(*randomTensors)
	tensors.Declare("text_model.embeddings.token_embedding.weight", sizes.Vocabulary, sizes.Hidden)
	tensors.Declare("text_model.embeddings.position_embedding.weight", sizes.Positions, sizes.Hidden)
	return p, nil
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

// randomPool is 128 MiB of f16: the largest tensor, SDXL's table of tokens, has 121.
var randomPool = sync.OnceValue(func() []byte {
	pool := make([]byte, 128<<20)
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
