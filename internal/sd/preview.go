package sd

import (
	"errors"
	"image"
	"math"
)

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
		setPixel(img.Pix[4*i:], rgb)
	}
	return img
}

// setPixel writes opaque RGBA from colours of 0…1, rounded; values outside are clipped, NaN is black.
func setPixel(p []byte, rgb [3]float32) {
	for k, v := range rgb {
		p[k] = 0
		if scaled := v*255 + 0.5; scaled > 0 {
			p[k] = byte(min(scaled, 255))
		}
	}
	p[3] = 255
}

// fitColours finds the rule that comes nearest to the given cells by least squares: latents [cells,C] with the mean colour
// of each cell's pixels, rgb [cells,3] of 0…1.
func fitColours(latents, rgb []float32, channels int) (Colours, error) {
	n := channels + 1
	sums := make([][]float64, n) // normal equations, one row an unknown: n of AᵀA, then 3 of Aᵀb
	for i := range sums {
		sums[i] = make([]float64, n+3)
	}
	row := make([]float64, n+3)
	for cell := range len(latents) / channels {
		for c, v := range latents[cell*channels:][:channels] {
			row[c] = float64(v)
		}
		row[channels] = 1
		for k, v := range rgb[cell*3:][:3] {
			row[n+k] = float64(v)
		}
		for i := range sums {
			for j, v := range row {
				sums[i][j] += row[i] * v
			}
		}
	}
	if err := solve(sums); err != nil {
		return Colours{}, err
	}
	c := Colours{Factors: make([][3]float32, channels)}
	for k := range 3 {
		for i := range channels {
			c.Factors[i][k] = float32(sums[i][n+k])
		}
		c.Bias[k] = float32(sums[channels][n+k])
	}
	return c, nil
}

// solve brings the left square part of rows to the identity (Gauss and Jordan, largest pivot): what is right of it is then
// the solution.
func solve(rows [][]float64) error {
	for i := range rows {
		pivot := i
		for r := i; r < len(rows); r++ {
			if math.Abs(rows[r][i]) > math.Abs(rows[pivot][i]) {
				pivot = r
			}
		}
		rows[i], rows[pivot] = rows[pivot], rows[i]
		if p := math.Abs(rows[i][i]); !(p > 1e-12) || math.IsInf(p, 0) {
			return errors.New("latent colours: the cells do not determine a rule")
		}
		for j := len(rows[i]) - 1; j >= i; j-- {
			rows[i][j] /= rows[i][i]
		}
		eliminate(rows, i)
	}
	return nil
}

// eliminate takes column i out of all other rows.
func eliminate(rows [][]float64, i int) {
	for r := range rows {
		if r == i {
			continue
		}
		factor := rows[r][i]
		for j := i; j < len(rows[r]); j++ {
			rows[r][j] -= factor * rows[i][j]
		}
	}
}

// cellColours is the mean colour, 0…1, of the f × f pixels of every cell: picture [h·f,w·f,3] of −1…1 → [h·w,3].
func cellColours(picture []float32, h, w, f int) []float32 {
	rgb := make([]float32, h*w*3)
	for y := range h * f {
		for x := range w * f {
			cell := rgb[(y/f*w+x/f)*3:]
			for k, v := range picture[(y*w*f+x)*3:][:3] {
				cell[k] += (v/2 + 0.5) / float32(f*f)
			}
		}
	}
	return rgb
}
