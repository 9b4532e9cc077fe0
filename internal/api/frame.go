package api

import (
	"encoding/binary"

	"waggle/internal/job"
)

// The binary messages of the socket.
const (
	frameVersion = 1
	frameLatent  = 1
	framePNG     = 2
)

// latentFrame is a preview as its latent in binary16.
func latentFrame(id job.ID, p job.Preview) []byte {
	b := frameHeader(frameLatent, id, p, 2*len(p.Latent.Data))
	for _, v := range p.Latent.Data {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return b
}

// pngFrame is a preview as a picture.
func pngFrame(id job.ID, p job.Preview, png []byte) []byte {
	return append(frameHeader(framePNG, id, p, len(png)), png...)
}

// frameHeader lays out what comes before the payload, little-endian: version,
// kind, step (16 bits), total (16), channels, length of the id, height (16),
// width (16), the id padded to a multiple of 4.
func frameHeader(kind byte, id job.ID, p job.Preview, payload int) []byte {
	b := make([]byte, 0, 12+len(id)+3+payload)
	b = append(b, frameVersion, kind)
	b = binary.LittleEndian.AppendUint16(b, uint16(p.Step))
	b = binary.LittleEndian.AppendUint16(b, uint16(p.Total))
	b = append(b, byte(p.Latent.Channels), byte(len(id)))
	b = binary.LittleEndian.AppendUint16(b, uint16(p.Latent.Height))
	b = binary.LittleEndian.AppendUint16(b, uint16(p.Latent.Width))
	b = append(b, id...)
	return append(b, make([]byte, -len(b)&3)...)
}
