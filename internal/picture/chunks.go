package picture

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// Text is one piece of a PNG's metadata.
type Text struct {
	Keyword string // 1 to 79 characters of Latin-1; programs that make pictures use "parameters"
	Value   string
}

// ErrNotPNG says that a file does not begin as PNG files do.
var ErrNotPNG = errors.New("not a PNG file")

// Limits on what strangers' metadata may hold. Longer texts are passed over.
const (
	longestText = 1 << 20 // bytes, unpacked
	mostTexts   = 64
)

const (
	signature   = "\x89PNG\r\n\x1a\n"
	headerBytes = len(signature) + 12 + 13 // signature and the IHDR chunk, which comes first
)

// InsertTexts adds metadata to a PNG file, before its pixels. Text that fits Latin-1 goes into tEXt chunks, any other
// as UTF-8 into iTXt, as other programs that make pictures do it. NUL, which chunks cannot hold, is left out.
func InsertTexts(file []byte, texts ...Text) ([]byte, error) {
	if !bytes.HasPrefix(file, []byte(signature)) || len(file) < headerBytes {
		return nil, ErrNotPNG
	}
	out := bytes.NewBuffer(make([]byte, 0, len(file)+256))
	out.Write(file[:headerBytes])
	for _, text := range texts {
		if err := writeText(out, text); err != nil {
			return nil, err
		}
	}
	out.Write(file[headerBytes:])
	return out.Bytes(), nil
}

func writeText(out *bytes.Buffer, text Text) error {
	keyword, ok := toLatin1(text.Keyword)
	if !ok || len(keyword) == 0 || len(keyword) > 79 || strings.ContainsRune(text.Keyword, 0) {
		return fmt.Errorf("PNG text: keyword %q is not 1 to 79 characters of Latin-1", text.Keyword)
	}
	value := strings.ToValidUTF8(strings.ReplaceAll(text.Value, "\x00", ""), "\uFFFD")
	if latin1, ok := toLatin1(value); ok {
		writeChunk(out, "tEXt", keyword, []byte{0}, latin1)
		return nil
	}
	// After the keyword: not compressed, method 0, no language, no translated keyword.
	writeChunk(out, "iTXt", keyword, []byte{0, 0, 0, 0, 0}, []byte(value))
	return nil
}

func writeChunk(out *bytes.Buffer, kind string, parts ...[]byte) {
	data := append([]byte(kind), bytes.Join(parts, nil)...)
	out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(data)-len(kind))))
	out.Write(data)
	out.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(data)))
}

// Texts reads a PNG file's metadata: chunks tEXt, zTXt and iTXt, wherever they stand. What was read before a damaged
// place is returned with the error.
func Texts(file []byte) ([]Text, error) {
	if !bytes.HasPrefix(file, []byte(signature)) {
		return nil, ErrNotPNG
	}
	var texts []Text
	rest := file[len(signature):]
	for len(rest) > 0 && len(texts) < mostTexts {
		kind, data, next, err := cutChunk(rest)
		if err != nil || kind == "IEND" {
			return texts, err
		}
		if text, ok := parseText(kind, data); ok {
			texts = append(texts, text)
		}
		rest = next
	}
	return texts, nil
}

// cutChunk takes the first chunk off. The check sum is looked at only where we use the data.
func cutChunk(file []byte) (kind string, data, rest []byte, err error) {
	const around = 12 // length, kind and check sum, 4 bytes each
	if len(file) < around {
		return "", nil, nil, fmt.Errorf("PNG ends within a chunk: %w", io.ErrUnexpectedEOF)
	}
	length := uint64(binary.BigEndian.Uint32(file))
	kind = string(file[4:8])
	if length > uint64(len(file)-around) {
		return "", nil, nil, fmt.Errorf("PNG ends within its chunk %q: %w", kind, io.ErrUnexpectedEOF)
	}
	end := 8 + int(length)
	if isText(kind) && crc32.ChecksumIEEE(file[4:end]) != binary.BigEndian.Uint32(file[end:]) {
		return "", nil, nil, fmt.Errorf("PNG chunk %q: check sum is wrong", kind)
	}
	return kind, file[8:end], file[end+4:], nil
}

func isText(kind string) bool { return kind == "tEXt" || kind == "zTXt" || kind == "iTXt" }

// parseText reports false for chunks that hold no text, or none we can read.
func parseText(kind string, data []byte) (Text, bool) {
	if !isText(kind) || len(data) > longestText {
		return Text{}, false
	}
	keyword, data, ok := bytes.Cut(data, []byte{0})
	if !ok || len(keyword) == 0 || len(keyword) > 79 {
		return Text{}, false
	}
	var value string
	switch kind {
	case "tEXt":
		value = fromLatin1(data)
	case "zTXt":
		value, ok = parseCompressed(data)
	case "iTXt":
		value, ok = parseInternational(data)
	}
	return Text{fromLatin1(keyword), value}, ok
}

// parseCompressed reads what follows the keyword of zTXt: method 0, zlib stream of Latin-1.
func parseCompressed(data []byte) (string, bool) {
	if len(data) == 0 || data[0] != 0 {
		return "", false
	}
	plain, ok := inflate(data[1:])
	return fromLatin1(plain), ok
}

// parseInternational reads what follows the keyword of iTXt: flag, method, language, translated keyword, UTF-8 text.
func parseInternational(data []byte) (string, bool) {
	if len(data) < 2 || data[0] > 1 {
		return "", false
	}
	compressed := data[0] == 1
	parts := bytes.SplitN(data[2:], []byte{0}, 3)
	if len(parts) < 3 {
		return "", false
	}
	value, ok := parts[2], true
	if compressed {
		value, ok = inflate(value)
	}
	return strings.ToValidUTF8(string(value), "\uFFFD"), ok
}

func inflate(data []byte) ([]byte, bool) {
	reader, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, false
	}
	defer reader.Close() // reads from memory, cannot fail
	plain, err := io.ReadAll(io.LimitReader(reader, longestText+1))
	return plain, err == nil && len(plain) <= longestText
}

func toLatin1(text string) ([]byte, bool) {
	out := make([]byte, 0, len(text))
	for _, r := range text {
		if r > 0xFF {
			return nil, false
		}
		out = append(out, byte(r))
	}
	return out, true
}

func fromLatin1(data []byte) string {
	runes := make([]rune, len(data))
	for i, b := range data {
		runes[i] = rune(b)
	}
	return string(runes)
}
