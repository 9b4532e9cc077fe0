//go:build js

// The program that runs in the visitor's browser: it draws the latent of a
// step on a canvas, so that watching a picture form costs the server nothing.
//
// The page owns the connection and the words; this program is handed one
// binary message at a time through the global function waggleDraw:
//
//	waggleDraw(canvas, message Uint8Array, colours number[]) → "" or what is wrong
//
// colours holds three numbers a latent channel and three of bias at the end.
package main

import (
	"errors"
	"syscall/js"

	"waggle/wasm/preview"
)

const (
	messageLimitBytes = 32 << 20
	coloursLimit      = 3 * (16 + 1)
)

var (
	errCall   = errors.New("preview: called without a canvas, a Uint8Array and colours")
	errTooBig = errors.New("preview: message too long")
)

func main() {
	screen := &screen{decoder: preview.NewDecoder()}
	js.Global().Set("waggleDraw", js.FuncOf(func(_ js.Value, args []js.Value) any {
		if err := screen.draw(args); err != nil {
			return err.Error()
		}
		return ""
	}))
	select {} // the function must stay callable
}

// screen keeps what one drawing leaves for the next: the buffers.
type screen struct {
	decoder  *preview.Decoder
	enlarger preview.Enlarger
	message  []byte
	pixels   []byte // as small as the latent
	large    []byte
}

// draw parses a message and puts its pixels on the canvas, which takes their size.
func (s *screen) draw(args []js.Value) error {
	if len(args) != 3 || args[0].Type() != js.TypeObject || args[2].Type() != js.TypeObject ||
		!args[1].InstanceOf(js.Global().Get("Uint8Array")) {
		return errCall
	}
	if err := s.receive(args[1]); err != nil {
		return err
	}
	frame, err := preview.Parse(s.message)
	if err != nil {
		return err
	}
	colours, err := coloursOf(args[2])
	if err != nil {
		return err
	}
	if s.pixels, err = s.decoder.RGBA(s.pixels, frame, colours); err != nil {
		return err
	}
	scale := preview.Scale(frame.Width, frame.Height)
	s.large = s.enlarger.Enlarge(s.large, s.pixels, frame.Width, frame.Height, scale)
	put(args[0], frame.Width*scale, frame.Height*scale, s.large)
	return nil
}

// receive copies the message out of the browser's memory.
func (s *screen) receive(array js.Value) error {
	n := array.Length()
	if n > messageLimitBytes {
		return errTooBig
	}
	if cap(s.message) < n {
		s.message = make([]byte, n)
	}
	s.message = s.message[:n]
	js.CopyBytesToGo(s.message, array)
	return nil
}

// coloursOf reads the flat list of numbers.
func coloursOf(list js.Value) (preview.Colours, error) {
	n := list.Length()
	if n < 6 || n%3 != 0 || n > coloursLimit {
		return preview.Colours{}, preview.ErrFactors
	}
	rows := make([][3]float32, n/3)
	for i := range n {
		v := list.Index(i)
		if v.Type() != js.TypeNumber {
			return preview.Colours{}, preview.ErrFactors
		}
		rows[i/3][i%3] = float32(v.Float())
	}
	last := len(rows) - 1
	return preview.Colours{Factors: rows[:last], Bias: rows[last]}, nil
}

// put resizes the canvas where needed and copies the pixels to it.
func put(canvas js.Value, width, height int, pixels []byte) {
	if canvas.Get("width").Int() != width || canvas.Get("height").Int() != height {
		canvas.Set("width", width)
		canvas.Set("height", height)
	}
	context := canvas.Call("getContext", "2d")
	image := context.Call("createImageData", width, height)
	js.CopyBytesToJS(image.Get("data"), pixels)
	context.Call("putImageData", image, 0, 0)
}
