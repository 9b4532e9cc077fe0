package goldens

import (
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"maps"
	"math"
	"math/bits"
	"os"
	"slices"
	"strings"
	"testing"
)

// Formula computes a tensor of a reference model from its name and shape, as scripts/references/tensors.py describes it. Its
// values are float16 numbers.
func Formula(name string, shape []int) []float32 {
	inputs := 1
	for _, n := range shape[min(1, len(shape)):] {
		inputs *= n
	}
	number := func(k int) float32 { return float32(k) / (1 << 13) } // biases
	switch {
	case len(shape) > 1: // matrices, convolutions
		scale := float32(math.Ldexp(1, -10-(bits.Len(uint(inputs))/2-1)))
		number = func(k int) float32 { return float32(k) * scale }
	case strings.HasSuffix(name, "weight"): // of norms
		number = func(k int) float32 { return 1 + float32(k>>3)/(1<<10) }
	}
	state := fnv.New64a()
	state.Write([]byte(name))
	seed := state.Sum64()
	return each(Tensor{Shape: shape}.Len(), func(i int) float32 {
		return number(int(splitMix(seed+uint64(i+1)*0x9E3779B97F4A7C15)>>53) - 1024)
	})
}

// splitMix is the output function of SplitMix64. Steele, Lea and Flood 2014.
func splitMix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// WriteFormula writes a safetensors file of float16 tensors of the formula, named and shaped.
func WriteFormula(tb testing.TB, path string, shapes map[string][]int) {
	tb.Helper()
	header, data := map[string]entry{}, []byte(nil)
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		from := len(data)
		for _, v := range Formula(name, shapes[name]) {
			data = binary.LittleEndian.AppendUint16(data, exactHalf(v))
		}
		header[name] = entry{DType: "F16", Shape: shapes[name], Offsets: [2]int{from, len(data)}}
	}
	text, err := json.Marshal(header)
	if err != nil {
		tb.Fatal(err)
	}
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	if err := os.WriteFile(path, slices.Concat(file, text, data), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// exactHalf narrows a number that float16 holds exactly: a multiple of 2⁻²⁴ of at most 11 bits.
func exactHalf(v float32) uint16 {
	sign := uint16(math.Float32bits(v) >> 16 & 0x8000)
	n := uint32(math.Abs(float64(v)) * (1 << 24)) // v = n·2⁻²⁴
	if n < 1<<10 {
		return sign | uint16(n) // subnormal
	}
	exponent := bits.Len32(n) - 11
	return sign | uint16(exponent+1)<<10 | uint16(n>>exponent)&0x3ff
}
