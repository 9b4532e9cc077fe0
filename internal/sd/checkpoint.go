package sd

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"waggle/internal/noise"
)

// Checkpoint is a picture between two steps: with the same request and model it is all that another process needs to go on
// (see Request.From), and on the same adapter every byte of the finished picture is that of a run without interruption.
// Values are not to be changed.
type Checkpoint struct {
	Terms       []Term      // what the picture depends on
	Step, Total int         // steps done, and all steps
	Latent      Latent      // after the step, with the noise that is still to go
	History     [][]float32 // the sampler's memory, each as long as the latent
	Numbers     []float64   // more of its memory
	Noise       noise.PictureState
}

// ErrDamaged is in the error of a checkpoint whose bytes are not those that were written.
var ErrDamaged = errors.New("the checkpoint is damaged")

// A checkpoint in bytes, numbers little-endian:
//
//	"wgcheck" and the format's version, 1 byte
//	length of the header, u32
//	header, JSON
//	latent [C,H,W], then each of the history, f32
//	CRC-32C of all of that, u32
//
// At 512×512 the latent takes 64 KiB, and so does each part of the history: Euler keeps none, DPM++ 2M one, UniPC four.
const (
	checkpointMagic   = "wgcheck"
	checkpointVersion = 1
	checkpointPrefix  = len(checkpointMagic) + 1 + 4
	checksumBytes     = 4

	maxHeaderBytes = 1 << 16
	maxHistory     = 8
	maxNumbers     = 16
	maxChannels    = 64
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkpointHeader is all but the numbers.
type checkpointHeader struct {
	Terms    []Term             `json:"terms"`
	Step     int                `json:"step"`
	Total    int                `json:"total"`
	Channels int                `json:"channels"`
	Height   int                `json:"height"`
	Width    int                `json:"width"`
	History  int                `json:"history"`
	Numbers  []float64          `json:"numbers,omitempty"`
	Noise    noise.PictureState `json:"noise"`
}

// MarshalBinary writes a checkpoint.
func (c *Checkpoint) MarshalBinary() ([]byte, error) {
	h := checkpointHeader{Terms: c.Terms, Step: c.Step, Total: c.Total, Channels: c.Latent.Channels, Height: c.Latent.Height,
		Width: c.Latent.Width, History: len(c.History), Numbers: c.Numbers, Noise: c.Noise}
	all := append([][]float32{c.Latent.Data}, c.History...)
	for _, part := range all {
		if len(part) != h.cells() {
			return nil, fmt.Errorf("checkpoint: a latent of %d values, want %d", len(part), h.cells())
		}
	}
	header, err := json.Marshal(h)
	if err == nil {
		err = h.check()
	}
	if err == nil && len(header) > maxHeaderBytes {
		err = fmt.Errorf("header of %d bytes, at most %d", len(header), maxHeaderBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	data := make([]byte, 0, checkpointPrefix+len(header)+4*len(all)*h.cells()+checksumBytes)
	data = append(append(data, checkpointMagic...), checkpointVersion)
	data = append(binary.LittleEndian.AppendUint32(data, uint32(len(header))), header...)
	for _, part := range all {
		data = appendFloats(data, part)
	}
	return binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, castagnoli)), nil
}

// UnmarshalBinary reads what MarshalBinary wrote. Any other bytes give an error and take no more memory than they have;
// those that were a checkpoint once, ErrDamaged.
func (c *Checkpoint) UnmarshalBinary(data []byte) error {
	header, numbers, err := openCheckpoint(data)
	if err != nil {
		return err
	}
	h, err := parseHeader(header)
	if err != nil {
		return fmt.Errorf("%w: header: %w", ErrDamaged, err)
	}
	n := h.cells()
	if want := 4 * n * (1 + h.History); len(numbers) != want {
		return fmt.Errorf("%w: %d bytes of numbers, the header tells of %d", ErrDamaged, len(numbers), want)
	}
	values := readFloats(numbers)
	*c = Checkpoint{Terms: h.Terms, Step: h.Step, Total: h.Total, Numbers: h.Numbers, Noise: h.Noise,
		Latent: Latent{Channels: h.Channels, Height: h.Height, Width: h.Width, Data: values[:n:n]}}
	for i := range h.History {
		c.History = append(c.History, values[(i+1)*n:][:n:n])
	}
	return nil
}

// openCheckpoint checks what is around header and numbers.
func openCheckpoint(data []byte) (header, numbers []byte, err error) {
	if len(data) < checkpointPrefix+checksumBytes || !bytes.HasPrefix(data, []byte(checkpointMagic)) {
		return nil, nil, fmt.Errorf("%w: its %d bytes do not begin as one", ErrDamaged, len(data))
	}
	if v := data[len(checkpointMagic)]; v != checkpointVersion {
		return nil, nil, fmt.Errorf("the checkpoint has format %d, this program reads %d: begin the picture anew", v, checkpointVersion)
	}
	body, sum := data[:len(data)-checksumBytes], binary.LittleEndian.Uint32(data[len(data)-checksumBytes:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return nil, nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrDamaged, got, sum)
	}
	length, rest := binary.LittleEndian.Uint32(body[checkpointPrefix-4:]), body[checkpointPrefix:]
	if length > maxHeaderBytes || int(length) > len(rest) {
		return nil, nil, fmt.Errorf("%w: header of %d bytes", ErrDamaged, length)
	}
	return rest[:length], rest[length:], nil
}

func parseHeader(data []byte) (checkpointHeader, error) {
	var h checkpointHeader
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return h, err
	}
	if _, err := d.Token(); err != io.EOF {
		return h, errors.New("something follows it")
	}
	return h, h.check()
}

func (h checkpointHeader) check() error {
	var l limits
	l.between("total", h.Total, 1, maxSteps)
	l.between("step", h.Step, 0, h.Total)
	l.between("channels", h.Channels, 1, maxChannels)
	l.between("height", h.Height, 1, maxSide)
	l.between("width", h.Width, 1, maxSide)
	l.between("history", h.History, 0, min(maxHistory, maxHistory*h.Step))
	l.between("numbers", len(h.Numbers), 0, min(maxNumbers, maxNumbers*h.Step))
	return l.err
}

// cells is the number of values of a latent.
func (h checkpointHeader) cells() int { return h.Channels * h.Height * h.Width }

// appendFloats writes f32, little-endian.
func appendFloats(data []byte, values []float32) []byte {
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return data
}

func readFloats(data []byte) []float32 {
	values := make([]float32, len(data)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return values
}
