package sd

import (
	"fmt"
	"io"
	"os"

	"waggle/internal/models"
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// decoderLimit is how many decoders are kept open beside the model's own.
const decoderLimit = 2

// decoder is an autoencoder that a request asks for in place of the model's own.
type decoder struct {
	network[VAEConfig]
	key   string        // of its file as it was; "" for the model's own
	model *models.Model // that holds nothing else; nil for the model's own
}

// decoder finds the autoencoder of a name on the shelf, or opens it; the model's own for no name. It is good until the next
// call: drawings keep the name alone.
func (p *Pipeline) decoder(name string) (decoder, error) {
	if name == "" {
		return decoder{network: p.networks.vae}, nil
	}
	e, err := p.shelf.FindVAE(name)
	if err != nil {
		return decoder{}, fmt.Errorf("vae: %w", err)
	}
	info, err := os.Stat(e.Path)
	if err != nil {
		return decoder{}, fmt.Errorf("vae: %w", err)
	}
	key := fmt.Sprint(e.Path, info.Size(), info.ModTime().UnixNano())
	if d, ok := p.decoders.get(key); ok {
		return d, nil
	}
	d, err := p.openDecoder(e)
	if err != nil {
		return decoder{}, err
	}
	d.key = key
	p.decoders.put(key, d)
	return d, nil
}

// openDecoder opens an autoencoder, and refuses one that does not fit the model.
func (p *Pipeline) openDecoder(e models.Entry) (decoder, error) {
	m, err := e.OpenVAE()
	if err != nil {
		return decoder{}, err
	}
	d := decoder{model: m}
	d.network, err = readPart("vae", m.VAE, p.family, parseVAE, detectVAE)
	if err == nil {
		err = d.fits(p.networks.vae.config)
	}
	if err != nil {
		m.Close()
		return decoder{}, fmt.Errorf("vae %q for model %s: %w", e.Name, p.name, err)
	}
	return d, nil
}

// fits reports why a decoder cannot take the place of the model's own, if it cannot.
func (d decoder) fits(own VAEConfig) error {
	const side = 8 // of the latent; weights do not depend on it
	c := d.config
	if err := c.check(); err != nil {
		return err
	}
	if c.Latent != own.Latent || c.Factor() != own.Factor() {
		return fmt.Errorf("it decodes %d channels of 1/%d the size, the model's has %d of 1/%d", c.Latent, c.Factor(), own.Latent, own.Factor())
	}
	return decodeGraph(d.network, side, side).Err()
}

// part makes a picture of a latent of height × width cells.
func (d decoder) part(height, width int) part {
	return part{"decoder", "decode", d.tensors, 1, func(int) *nn.Graph { return decodeGraph(d.network, height, width) }, true}
}

// dropDecoder gives back what is kept of a decoder.
func (p *Pipeline) dropDecoder(d decoder) {
	p.forget(d.tensors)
	d.model.Close()
}

// sources of the weights of all networks, those of other decoders included.
func (p *Pipeline) sources() []weights.Source {
	all := p.networks.sources()
	for _, key := range p.decoders.order {
		all = append(all, p.decoders.values[key].tensors)
	}
	return all
}

// decoderTerm tells by which decoder a picture is made, if not the model's own.
func (p *Pipeline) decoderTerm(name string) ([]Term, error) {
	if name == "" {
		return nil, nil
	}
	d, err := p.decoder(name)
	if err != nil {
		return nil, err
	}
	return []Term{{"decoder", key(func(w io.Writer) { describe(w, d.network) })}}, nil
}
