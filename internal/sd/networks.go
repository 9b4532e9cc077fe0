package sd

import (
	"errors"
	"fmt"

	"waggle/internal/models"
	"waggle/internal/weights"
)

// readNetworks gives every part of a model its shape: from its config.json, else from its tensors.
func readNetworks(m *models.Model) (n Networks, f family, err error) {
	if m.UNet == nil {
		return n, f, errors.New("unet: the model has none")
	}
	f = probe{m.UNet.Tensors}.family()
	if err := f.refuse(m); err != nil {
		return n, f, err
	}
	if n.unet, err = readPart("unet", m.UNet, f, parseUNet, detectUNet); err != nil {
		return n, f, err
	}
	if n.vae, err = readPart("vae", m.VAE, f, parseVAE, detectVAE); err != nil {
		return n, f, err
	}
	for i, part := range []*models.Part{m.Text, m.Text2} {
		if part == nil && i > 0 {
			break
		}
		text, err := readPart(fmt.Sprintf("text encoder %d", i+1), part, f, parseText, detectText)
		if err != nil {
			return n, f, err
		}
		text.config.joinTo(n.unet.config, i)
		n.text = append(n.text, text)
	}
	return n, f, n.check()
}

// readPart reads one part's shape.
func readPart[C any](name string, p *models.Part, f family, parse func([]byte) (C, error),
	detect func(weights.Source, family) (C, error)) (n network[C], err error) {
	if p == nil {
		return n, fmt.Errorf("%s: the model has none", name)
	}
	n.tensors = p.Tensors
	if p.Config != nil {
		n.config, err = parse(p.Config)
	} else {
		n.config, err = detect(p.Tensors, f)
	}
	if err != nil {
		return n, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

// joinTo sets what the UNet takes from its i-th text encoder. A UNet with added text is SDXL's: it reads the last states
// but one without norm, and the second encoder's summary.
func (c *TextConfig) joinTo(u UNetConfig, i int) {
	if u.Added == 0 {
		c.Projection = 0
		return
	}
	c.ContextSkip, c.ContextNorm = 1, false
	if i == 0 {
		c.Projection = 0
	}
}
