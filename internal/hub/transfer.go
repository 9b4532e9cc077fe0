package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"time"
)

// A file that is not whole has these beside it: what came, and by what the server knows it again.
const (
	partSuffix = ".part"
	markSuffix = ".part.mark"
)

const (
	usualStall = 60 * time.Second
	markLimit  = 1024      // bytes of a mark
	pieceBytes = 256 << 10 // read at a time
)

// transfer is the way of one file.
type transfer struct {
	*Client
	root *os.Root
	file File
	part *os.File
	mark string // ETag or date that the part is of; empty: none that can be trusted
	done int64  // bytes of the part
	sums *sums
	anew bool // it was begun anew after a wrong sum
}

// openTransfer takes up what an earlier one left.
func openTransfer(c *Client, root *os.Root, f File) (*transfer, error) {
	part, err := root.OpenFile(f.Path+partSuffix, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	t := &transfer{Client: c, root: root, file: f, part: part, sums: newSums(f)}
	info, err := part.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", f.Path+partSuffix)
	}
	if err == nil {
		t.mark = t.readMark()
		if t.mark == "" && f.SHA256 == "" || f.Size >= 0 && info.Size() > f.Size {
			err = t.restart()
		} else {
			t.done, err = io.Copy(t.sums, part)
		}
	}
	if err != nil {
		return nil, errors.Join(err, part.Close())
	}
	return t, nil
}

func (t *transfer) readMark() string {
	file, err := t.root.Open(t.file.Path + markSuffix)
	if err != nil {
		return ""
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, markLimit))
	if err != nil || !validMark(string(data)) {
		return ""
	}
	return string(data)
}

// validMark reports whether a text can be sent back as If-Range: a strong ETag, or a date.
func validMark(text string) bool {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) || len(text) >= markLimit {
		return false
	}
	_, err := http.ParseTime(text)
	return err == nil || len(text) > 2 && text[0] == '"' && text[len(text)-1] == '"'
}

// restart throws away what came.
func (t *transfer) restart() error {
	t.done, t.mark, t.sums = 0, "", newSums(t.file)
	t.root.Remove(t.file.Path + markSuffix)
	if err := t.part.Truncate(0); err != nil {
		return err
	}
	_, err := t.part.Seek(0, io.SeekStart)
	return err
}

// attempt asks for what is missing and takes what comes. Without an error the file is whole and right.
func (t *transfer) attempt(ctx context.Context) error {
	if t.file.Size < 0 || t.done < t.file.Size {
		if err := t.ask(ctx); err != nil {
			return err
		}
	}
	err := t.sums.check(t.file)
	if err == nil {
		return nil
	}
	if err = errors.Join(err, t.restart()); t.anew {
		return permanent(err)
	}
	t.anew = true // what an earlier process left may be the reason: once more from the beginning
	return err
}

// ask makes one request and takes its answer.
func (t *transfer) ask(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	request, err := t.request(ctx, t.file.Address)
	if err != nil {
		return err
	}
	if t.done > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", t.done))
		if t.mark != "" {
			request.Header.Set("If-Range", t.mark)
		}
	}
	answer, err := t.client().Do(request)
	if err != nil {
		return bare(err)
	}
	defer answer.Body.Close()
	size, err := t.begin(answer)
	if err != nil {
		return err
	}
	watch := cmp.Or(t.Stall, usualStall)
	stalled := time.AfterFunc(watch, func() { cancel(fmt.Errorf("nothing came for %s", watch)) })
	defer stalled.Stop()
	if err := t.take(answer.Body, size, func() { stalled.Reset(watch) }); err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	return nil
}

// begin looks at an answer's head: whether it goes on or begins anew, and how long the file is (-1: not said).
func (t *transfer) begin(answer *http.Response) (size int64, err error) {
	switch answer.StatusCode {
	case http.StatusOK:
		size = answer.ContentLength
		if t.done > 0 {
			err = t.restart()
		}
	case http.StatusPartialContent:
		size, err = t.goesOn(answer)
	case http.StatusRequestedRangeNotSatisfiable:
		return 0, errors.Join(errors.New("the server has less of the file than came before"), t.restart())
	default:
		return 0, t.fault(answer)
	}
	if coding := answer.Header.Get("Content-Encoding"); err == nil && coding != "" && coding != "identity" {
		err = permanent(fmt.Errorf("the server sends the file as %s, which was not asked for", clip(coding)))
	}
	if err != nil {
		return 0, err
	}
	if t.file.Size >= 0 && size >= 0 && size != t.file.Size {
		return 0, permanent(fmt.Errorf("%w: the server sends %d bytes, promised were %d", ErrDamaged, size, t.file.Size))
	}
	size = max(size, t.file.Size)
	if size > sizeLimit {
		return 0, permanent(fmt.Errorf("%d bytes are more than a file may have", size))
	}
	if t.Free != nil && size > t.done && uint64(size-t.done)+roomLeft > t.Free(t.root.Name()) {
		return 0, permanent(fmt.Errorf("%w: %.1f MB are to come", ErrNoSpace, float64(size-t.done)/1e6))
	}
	return size, t.remember(answer)
}

// goesOn checks that an answer with a part of the file has the part that was asked for.
func (t *transfer) goesOn(answer *http.Response) (size int64, err error) {
	var first, last int64
	said := answer.Header.Get("Content-Range")
	if _, err := fmt.Sscanf(said, "bytes %d-%d/%d", &first, &last, &size); err != nil || first != t.done || last != size-1 {
		return 0, errors.Join(fmt.Errorf("asked for bytes from %d, the server sends %q", t.done, clip(said)), t.restart())
	}
	if mark := answer.Header.Get("ETag"); t.mark != "" && t.mark[0] == '"' && mark != "" && mark != t.mark {
		return 0, errors.Join(errors.New("the file has changed since its beginning came"), t.restart())
	}
	return size, nil
}

// remember writes down by what the server knows the file again.
func (t *transfer) remember(answer *http.Response) error {
	mark := answer.Header.Get("ETag")
	if !validMark(mark) {
		mark = answer.Header.Get("Last-Modified")
	}
	if !validMark(mark) {
		mark = ""
	}
	if mark == t.mark {
		return nil
	}
	t.mark = mark
	return t.root.WriteFile(t.file.Path+markSuffix, []byte(mark), 0o644)
}

// take writes what comes to the part, up to size; more than that is refused, less is cut.
func (t *transfer) take(body io.Reader, size int64, alive func()) error {
	buffer := make([]byte, pieceBytes)
	limit := size
	if size < 0 {
		limit = t.most()
	}
	for {
		n, err := body.Read(buffer)
		alive()
		if t.done+int64(n) > limit {
			return errors.Join(permanent(fmt.Errorf("%w: more than %d bytes came", ErrDamaged, limit)), t.restart())
		}
		if n > 0 {
			if _, err := t.part.Write(buffer[:n]); err != nil {
				return permanent(err)
			}
			t.sums.Write(buffer[:n])
			t.done += int64(n)
			t.tell(Progress{File: t.file.Path, Done: t.done, Size: max(0, size)})
		}
		switch {
		case err == io.EOF && size >= 0 && t.done < size:
			return fmt.Errorf("cut after %d of %d bytes", t.done, size)
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("cut after %d bytes: %w", t.done, bare(err))
		}
	}
}

// most is how long a file may be whose length nobody says.
func (t *transfer) most() int64 {
	if t.Free == nil {
		return sizeLimit
	}
	free := t.Free(t.root.Name())
	return t.done + int64(min(free-min(free, roomLeft), sizeLimit))
}

// finish gives a whole file its name.
func (t *transfer) finish() (Fetched, error) {
	err := errors.Join(t.part.Sync(), t.part.Close())
	t.part = nil
	if err == nil {
		err = t.root.Rename(t.file.Path+partSuffix, t.file.Path)
	}
	if err != nil {
		return Fetched{}, err
	}
	if err := t.root.Remove(t.file.Path + markSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Fetched{}, err
	}
	return Fetched{t.file, t.sums.sha(), t.done}, nil
}

// close leaves what came for the next time; nothing, if nothing came.
func (t *transfer) close() {
	if t.part == nil {
		return
	}
	t.part.Close()
	if t.done == 0 {
		t.root.Remove(t.file.Path + partSuffix)
		t.root.Remove(t.file.Path + markSuffix)
		t.root.Remove(path.Dir(t.file.Path)) // if it is empty
	}
}
