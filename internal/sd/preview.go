package sd

import "image"

// Colours is the linear rule from a latent cell to the mean colour of the pixels it stands for:
// rgb = Bias + Σ channel·factor, 0 black and 1 full. A good guess of what the autoencoder draws, at a ten-thousandth of the
// work, small enough to be done where the picture is watched.
type Colours struct {
	Factors [][3]float32 // [channel][rgb], for latents as the UNet sees them
	Bias    [3]float32
}

// picture draws a latent with one pixel for every cell.
func (c Colours) picture(l Latent) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, l.Width, l.Height))
	cells := l.Width * l.Height
	if len(c.Factors) != l.Channels || len(l.Data) != l.Channels*cells {
		return img
	}
	for i := range cells {
		rgb := c.Bias
		for channel, factor := range c.Factors {
			for k := range rgb {
				rgb[k] += factor[k] * l.Data[channel*cells+i]
			}
		}
		setPixel(img.Pix[4*i:], rgb, rounded)
	}
	return img
}

// Shares of a level that are added before colours are cut off to whole ones.
const (
	rounded   = 0.5
	truncated = 0
)

// setPixel writes opaque RGBA from colours of 0…1, rounded or truncated; values outside are clipped, NaN is black.
func setPixel(p []byte, rgb [3]float32, share float32) {
	for k, v := range rgb {
		p[k] = 0
		if scaled := v*255 + share; scaled > 0 {
			p[k] = byte(min(scaled, 255))
		}
	}
	p[3] = 255
}
