package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Listing is what a repository holds at one commit.
type Listing struct {
	Repository string // owner/name
	Commit     string
	Files      []File // by path
}

// File is one that can be fetched.
type File struct {
	Path    string // in its repository, or the name it shall have
	Address string
	Size    int64  // bytes; -1 if it is not known
	SHA256  string // 64 hex digits; empty if it is not known
	GitBlob string // the git object's name, 40 hex digits, of files that have no SHA256
}

// Bounds on a listing.
const (
	fileLimit = 50_000
	sizeLimit = 1 << 40 // bytes of a file
)

var (
	repositoryForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$`)
	revisionForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$`)
	hexForm        = regexp.MustCompile(`^[0-9a-f]+$`)
)

// SplitRepository reads OWNER/NAME or OWNER/NAME@REVISION; the revision is main where none is said.
func SplitRepository(text string) (repository, revision string, err error) {
	repository, revision, said := strings.Cut(text, "@")
	if !said {
		revision = "main"
	}
	if !repositoryForm.MatchString(repository) || strings.Contains(repository, "..") {
		return "", "", fmt.Errorf("%q is no repository: write OWNER/NAME, OWNER/NAME@REVISION, or an address", clip(text))
	}
	if !revisionForm.MatchString(revision) || strings.Contains(revision, "..") {
		return "", "", fmt.Errorf("%q is no revision: write a branch, a tag or a commit", clip(revision))
	}
	return repository, revision, nil
}

// List asks what a repository holds at a branch, tag or commit.
func (c *Client) List(ctx context.Context, repository, revision string) (Listing, error) {
	address := c.endpoint() + "/api/models/" + repository + "/revision/" + url.PathEscape(revision) + "?blobs=true"
	patient := patience{Client: c}
	for {
		data, err := c.get(ctx, address)
		if err == nil {
			l, err := c.parseListing(repository, data)
			if err != nil {
				return l, fmt.Errorf("%s: the hub's list of files: %w", repository, err)
			}
			return l, nil
		}
		if err = patient.again(ctx, repository, err); err != nil {
			return Listing{}, fmt.Errorf("%s at %s: %w", repository, revision, err)
		}
	}
}

// get reads a small answer whole.
func (c *Client) get(ctx context.Context, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*headersIn)
	defer cancel()
	request, err := c.request(ctx, address)
	if err != nil {
		return nil, err
	}
	answer, err := c.client().Do(request)
	if err != nil {
		return nil, bare(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, c.fault(answer)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, answerLimit+1))
	if len(data) > answerLimit {
		err = permanent(fmt.Errorf("the answer has more than %d bytes", answerLimit))
	}
	return data, err
}

// answer is the hub's description of a repository, as far as it is read.
type answer struct {
	Commit   string `json:"sha"`
	Siblings []struct {
		Name string `json:"rfilename"`
		Size *int64 `json:"size"`
		Blob string `json:"blobId"`
		LFS  *struct {
			SHA256 string `json:"sha256"`
			Size   int64  `json:"size"`
		} `json:"lfs"`
	} `json:"siblings"`
}

// parseListing reads a description. Files whose names lead elsewhere are left out: nobody can want them.
func (c *Client) parseListing(repository string, data []byte) (Listing, error) {
	var a answer
	l := Listing{Repository: repository}
	if err := json.Unmarshal(data, &a); err != nil {
		return l, fmt.Errorf("is not what was expected: %w", err)
	}
	if len(a.Commit) != 40 || !hexForm.MatchString(a.Commit) {
		return l, errors.New("names no commit")
	}
	if len(a.Siblings) > fileLimit {
		return l, fmt.Errorf("has %d files, the limit is %d", len(a.Siblings), fileLimit)
	}
	l.Commit = a.Commit
	for _, s := range a.Siblings {
		f := File{Path: s.Name, Size: -1, Address: c.address(repository, a.Commit, s.Name)}
		switch {
		case !SafePath(s.Name):
			continue
		case s.LFS != nil && len(s.LFS.SHA256) == 64 && hexForm.MatchString(s.LFS.SHA256):
			f.Size, f.SHA256 = s.LFS.Size, s.LFS.SHA256
		case s.Size != nil:
			f.Size = *s.Size
			if len(s.Blob) == 40 && hexForm.MatchString(s.Blob) && s.LFS == nil {
				f.GitBlob = s.Blob
			}
		}
		if f.Size > sizeLimit || f.Size < -1 {
			return l, fmt.Errorf("%s: a size of %d bytes", clip(s.Name), f.Size)
		}
		l.Files = append(l.Files, f)
	}
	slices.SortFunc(l.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	l.Files = slices.CompactFunc(l.Files, func(a, b File) bool { return a.Path == b.Path })
	return l, nil
}

// address of a file at a commit.
func (c *Client) address(repository, commit, name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return c.endpoint() + "/" + repository + "/resolve/" + commit + "/" + strings.Join(parts, "/")
}

// SafePath reports whether a stranger's path can be one below a folder of ours, on any system: relative, clean, of names
// that begin with a letter, digit or "_", and of bounded length.
func SafePath(name string) bool {
	parts := strings.Split(name, "/")
	if len(name) > 400 || len(parts) > 8 || path.Clean(name) != name {
		return false
	}
	return !slices.ContainsFunc(parts, func(part string) bool { return !partForm.MatchString(part) })
}

var partForm = regexp.MustCompile(`^[\p{L}\p{N}_]([\p{L}\p{N}\p{M}_ ().,+=@#!&'\[\]-]*[\p{L}\p{N}\p{M}_)\]])?$`)

// FileAt is a file at a plain address, by the name that the address ends in.
func FileAt(address string) (File, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return File{}, errors.New("is no http or https address")
	}
	f := File{Path: path.Base(u.Path), Address: address, Size: -1}
	if !SafePath(f.Path) {
		f.Path = ""
	}
	return f, nil
}
