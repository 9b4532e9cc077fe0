package sd

import (
	"errors"
	"fmt"
	"image"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"

	"waggle/internal/goldens"
	"waggle/internal/nn"
)

// TestColoursOfTinyShapes fits the rule latent → RGB to the built-in model's reference pictures, as its encoder sees them.
// It fails when the rule in families.go is worse than the fitted one by more than rounding, and says what to write there.
func TestColoursOfTinyShapes(t *testing.T) {
	p := tinyPipeline(t, plainGo{})
	sheet := readPNG(t, filepath.Join(goldens.Root(t), "internal/builtin/testdata/prompts64.png"))
	var latents, rgb []float32
	for i := 0; i < 64; i += 4 {
		picture := cut(sheet, i%8*128, i/8*128, 128)
		encoder, err := p.program("encode", p.networks.vae.tensors, func() *nn.Graph { return encodeGraph(p.networks.vae, 16, 16) })
		if err != nil {
			t.Fatal(err)
		}
		mean, err := run(encoder, map[string][]float32{"picture": picture}, "mean")
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range mean {
			latents = append(latents, v*float32(p.networks.vae.config.Scale))
		}
		rgb = append(rgb, cellColours(picture, 16, 16, 8)...)
	}
	fitted, err := fitColours(latents, rgb, 4)
	if err != nil {
		t.Fatal(err)
	}
	have, best, flat := deviation(p.Info().Colours, latents, rgb), deviation(fitted, latents, rgb), spread(rgb)
	t.Logf("deviation %.3f, fitted %.3f, colours themselves %.3f", have, best, flat)
	if have > 1.02*best || best > flat/2 {
		t.Errorf("the rule is off by %.3f, the fitted one by %.3f: set tinyShapes.colours to\n%s", have, best, literal(fitted))
	}
}

func literal(c Colours) string {
	text := ""
	for _, f := range c.Factors {
		text += fmt.Sprintf("{%.4f, %.4f, %.4f}, ", f[0], f[1], f[2])
	}
	return text + fmt.Sprintf("Bias {%.4f, %.4f, %.4f}", c.Bias[0], c.Bias[1], c.Bias[2])
}

// deviation of the rule from the colours: root of the mean square.
func deviation(c Colours, latents, rgb []float32) float64 {
	sum, channels := 0.0, len(c.Factors)
	for i, want := range rgb {
		v := c.Bias[i%3]
		for ch, f := range c.Factors {
			v += f[i%3] * latents[i/3*channels+ch]
		}
		sum += math.Pow(float64(min(max(v, 0), 1)-want), 2)
	}
	return math.Sqrt(sum / float64(len(rgb)))
}

func spread(rgb []float32) float64 {
	var mean Colours
	for i, v := range rgb {
		mean.Bias[i%3] += v / float32(len(rgb)/3)
	}
	return deviation(mean, nil, rgb)
}

func readPNG(t *testing.T, path string) image.Image {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	img, err := png.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// cut is a square of a picture as [side,side,3] of −1…1.
func cut(img image.Image, x0, y0, side int) []float32 {
	var v []float32
	for y := range side {
		for x := range side {
			r, g, b, _ := img.At(x0+x, y0+y).RGBA()
			v = append(v, float32(r)/0xffff*2-1, float32(g)/0xffff*2-1, float32(b)/0xffff*2-1)
		}
	}
	return v
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
