// Package preview turns the binary messages of the job channel into pixels.
//
// It is plain Go without the browser: the WebAssembly client calls it, and
// its tests run natively. Everything it reads comes from the network, so every
// number in a message is checked before it is used.
package preview

import (
	"encoding/binary"
	"errors"
)

// Kind says what the payload of a frame is.
type Kind uint8

// The kinds of payload the protocol knows.
const (
	Latent Kind = 1 // channels × height × width f16, channel by channel
	PNG    Kind = 2 // a PNG file
)

const (
	version     = 1
	headerBytes = 12
	maxChannels = 16
	maxSide     = 2048 // latent units; a picture is eight times that
	maxPixels   = 1 << 20
)

// Errors of Parse. They are fixed texts, so that the client needs no formatting code.
var (
	ErrShort   = errors.New("preview frame: shorter than its header says")
	ErrVersion = errors.New("preview frame: unknown version, reload the page")
	ErrKind    = errors.New("preview frame: unknown kind of payload")
	ErrShape   = errors.New("preview frame: channels, height or width out of range")
	ErrLength  = errors.New("preview frame: payload does not have the size of its shape")
)

// Frame is one binary message: the state of a picture after a step.
type Frame struct {
	Kind        Kind
	Step, Total int // step counts from 1
	Channels    int // of a latent; not used for a PNG
	Height      int // latent units
	Width       int // latent units
	Job         string
	Payload     []byte // points into the message
}

// Parse reads a message. Layout, little-endian: u8 version, u8 kind, u16 step,
// u16 total, u8 channels, u8 length n of the job id, u16 height, u16 width,
// n bytes of id padded to a multiple of four, payload.
func Parse(message []byte) (Frame, error) {
	if len(message) < headerBytes {
		return Frame{}, ErrShort
	}
	if message[0] != version {
		return Frame{}, ErrVersion
	}
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(message[at:])) }
	frame := Frame{
		Kind: Kind(message[1]), Step: u16(2), Total: u16(4),
		Channels: int(message[6]), Height: u16(8), Width: u16(10),
	}
	idEnd := headerBytes + int(message[7])
	start := (idEnd + 3) &^ 3
	if len(message) < start {
		return Frame{}, ErrShort
	}
	frame.Job = string(message[headerBytes:idEnd])
	frame.Payload = message[start:]
	return frame, frame.check()
}

// check compares the shape with the limits and with the payload.
func (f Frame) check() error {
	switch f.Kind {
	case PNG:
		return nil
	case Latent:
	default:
		return ErrKind
	}
	pixels := f.Height * f.Width
	if f.Channels < 1 || f.Channels > maxChannels || f.Height < 1 || f.Width < 1 ||
		f.Height > maxSide || f.Width > maxSide || pixels > maxPixels {
		return ErrShape
	}
	if len(f.Payload) != 2*f.Channels*pixels {
		return ErrLength
	}
	return nil
}
