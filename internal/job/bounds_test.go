package job

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"testing"
)

// TestNamesAreNoPaths: what is looked up in the server's folders cannot leave
// them, whichever member names it.
func TestNamesAreNoPaths(t *testing.T) {
	picture := base64.StdEncoding.EncodeToString(pngBytes(t, 64, 64))
	for _, row := range []struct{ what, member string }{
		{"loras[0].path", `,"loras":[{"path":%s}]`}, {"vae", `,"vae":%s`}, {"hires.upscaler", `,"hires":{"upscaler":%s}`},
		{"controls[0].model", `,"controls":[{"image":"` + picture + `","model":%s}]`},
	} {
		for _, name := range []string{"ink", "styles/ink.safetensors", "ink~", "..ink"} {
			if _, err := Parse([]byte(with(fmt.Sprintf(row.member, quoted(name))))); err != nil {
				t.Errorf("%s %q: %v", row.what, name, err)
			}
		}
		for _, name := range []string{"../ink", "..", "a/../../ink", "/etc/passwd", `..\ink`, `C:\ink`, "C:ink", "ink\x00", "~", "~/ink", "~root/ink", "//host/ink"} {
			_, err := Parse([]byte(with(fmt.Sprintf(row.member, quoted(name)))))
			wantError(t, err, "Invalid input: "+row.what+" must be a name, not a path")
		}
	}
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// TestPicturesAreBounded: a picture that claims to be too large is refused by
// its header, whichever member it is in: its pixels are never looked for.
func TestPicturesAreBounded(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(pngBytes(t, 64, 64))
	for _, row := range []struct{ what, operation, members string }{
		{"input image", "image_transform", `"input_image":"%s"`}, {"input image", "image_transform", `"init_image":"%s"`},
		{"input image", "image_inpaint", `"mask_image":"` + good + `","init_image":"%s"`},
		{"mask image", "image_inpaint", `"init_image":"` + good + `","mask_image":"%s"`},
		{"control image", "image_generation", `"controls":[{"model":"c","image":"` + good + `"},{"model":"c","image":"%s"}]`},
	} {
		for _, size := range [][2]uint32{{2056, 64}, {64, 2056}, {60000, 60000}, {1 << 30, 1}} {
			claim := base64.StdEncoding.EncodeToString(pngHeader(size[0], size[1]))
			_, err := Parse(fmt.Appendf(nil, `{"operation":%q,"hive_id":"h","model":"m","prompt":"p",`+row.members+`}`, row.operation, claim))
			wantError(t, err, "Invalid input: "+row.what+" is ")
		}
		_, err := Parse(fmt.Appendf(nil, `{"operation":%q,"hive_id":"h","model":"m","prompt":"p",`+row.members+`}`, row.operation,
			base64.StdEncoding.EncodeToString(pngHeader(0, 64))))
		wantError(t, err, "Failed to load image from memory: "+row.what)
	}
}

// pngHeader is a PNG file that ends behind what it claims to be.
func pngHeader(w, h uint32) []byte {
	ihdr := append([]byte("IHDR"), 0, 0, 0, 0, 0, 0, 0, 0, 8, 6, 0, 0, 0)
	binary.BigEndian.PutUint32(ihdr[4:], w)
	binary.BigEndian.PutUint32(ihdr[8:], h)
	file := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), ihdr...)
	return binary.BigEndian.AppendUint32(file, crc32.ChecksumIEEE(ihdr))
}
