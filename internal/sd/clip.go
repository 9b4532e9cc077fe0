package sd

import (
	"fmt"

	"waggle/internal/nn"
)

// TextStates are the hidden states of a CLIP text encoder.
type TextStates struct {
	Layers []nn.Tensor // [0] token and position embeddings, [i] states after layer i: [N,T,hidden]
	Last   nn.Tensor   // final layer norm of the last of Layers: [N,T,hidden]
}

// TextEncoder reads token ids [N,T,1] with CLIP's causal transformer. Radford et al. 2021.
func TextEncoder(g *nn.Graph, c TextConfig, ids nn.Tensor) TextStates {
	return textStates(g, c, tokenStates(g, c, ids))
}

// tokenStates are token and position embeddings; a negative id has only the latter.
func tokenStates(g *nn.Graph, c TextConfig, ids nn.Tensor) nn.Tensor {
	return g.Scope("text_model").Embedding("embeddings.token_embedding", "embeddings.position_embedding", ids, c.Hidden)
}

// textStates are what the layers make of x [N,T,hidden].
func textStates(g *nn.Graph, c TextConfig, x nn.Tensor) TextStates {
	g = g.Scope("text_model")
	layers := []nn.Tensor{x}
	for i := range c.Layers {
		x = textLayer(g.Scope(fmt.Sprintf("encoder.layers.%d", i)), c, x)
		layers = append(layers, x)
	}
	return TextStates{Layers: layers, Last: finalNorm(g, c, x)}
}

func finalNorm(text *nn.Graph, c TextConfig, x nn.Tensor) nn.Tensor {
	return text.LayerNorm("final_layer_norm", x, c.Eps)
}

// textLayer: causal self attention and a two-layer perceptron, each behind a layer norm: x [N,T,C] → [N,T,C].
func textLayer(g *nn.Graph, c TextConfig, x nn.Tensor) nn.Tensor {
	a := g.Scope("self_attn")
	qkv := a.JoinedLinear(g.LayerNorm("layer_norm1", x, c.Eps), c.Hidden, true, "q_proj", "k_proj", "v_proj")
	q, k, v := thirds(g, qkv)
	x = g.Add(x, a.Linear("out_proj", g.Attention(q, k, v, c.Heads, true), c.Hidden))
	h := g.Linear("mlp.fc1", g.LayerNorm("layer_norm2", x, c.Eps), c.Intermediate)
	return g.Add(x, g.Linear("mlp.fc2", g.Activate(h, c.Activation), c.Hidden))
}

// thirds takes a joined query-key-value product apart: [...,3C] → three of [...,C].
func thirds(g *nn.Graph, x nn.Tensor) (q, k, v nn.Tensor) {
	c := x.Channels() / 3
	return g.Columns(x, 0, c), g.Columns(x, c, c), g.Columns(x, 2*c, c)
}

// context is what the UNet attends to: the states skip layers before the last, behind the final layer norm where the
// family has it there: [N,T,hidden].
func (s TextStates) context(g *nn.Graph, c TextConfig, skip int) nn.Tensor {
	if skip < 0 || skip >= len(s.Layers) {
		g.Fail("clip skip %d: the text encoder has %d layers", skip+1, len(s.Layers)-1)
		return s.Last
	}
	x := s.Layers[len(s.Layers)-1-skip]
	if !c.ContextNorm {
		return x
	}
	return finalNorm(g.Scope("text_model"), c, x)
}

// pooled projects every place of the last states; the row of the first end-of-text token is the prompt's summary:
// [N,T,hidden] → [N,T,projection].
func (s TextStates) pooled(g *nn.Graph, c TextConfig) nn.Tensor {
	return g.LinearNoBias("text_projection", s.Last, c.Projection)
}

// textGraph is the encoder of one chunk of tokens: inputs "ids" [1,T,1] and "rows" [1,T,hidden], which stand in place of tokens
// where ids are negative and are 0 elsewhere; outputs "context" [1,T,hidden] and, where the
// encoder summarises, "pooled" [1,T,projection] of every place.
func textGraph(n network[TextConfig], skip int) *nn.Graph {
	g := nn.NewGraph(n.tensors)
	x := tokenStates(g, n.config, g.Input("ids", nn.PerJob, 1, n.config.Positions, 1))
	states := textStates(g, n.config, g.Add(x, g.Input("rows", nn.PerJob, 1, n.config.Positions, n.config.Hidden)))
	g.Output("context", states.context(g, n.config, skip))
	if n.config.Projection > 0 {
		g.Output("pooled", states.pooled(g, n.config))
	}
	return g
}
