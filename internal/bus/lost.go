package bus

import (
	"io/fs"
	"os"
	"path/filepath"
)

// blocks are the files with messages and their sizes in bytes.
//
// A server that finds damage in one when it starts, cuts it off there, goes on
// with what is left and says nothing. By the sizes before and after we can.
func blocks(dir string) map[string]int64 {
	sizes := map[string]int64{}
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".blk" {
			return nil // what cannot be looked at is the server's to complain of
		}
		if info, err := e.Info(); err == nil {
			sizes[path] = info.Size()
		}
		return nil
	})
	return sizes
}

// tellLost logs what has been cut off since blocks.
func (in *inside) tellLost(before map[string]int64) {
	for path, size := range before {
		if info, err := os.Stat(path); err == nil && info.Size() < size {
			stream := filepath.Base(filepath.Dir(filepath.Dir(path)))
			in.options.Log.Error("a file in the data folder is damaged; what stood behind the damage is lost",
				"stream", stream, "file", path, "bytes", size-info.Size())
		}
	}
}
