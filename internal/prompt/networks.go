package prompt

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Network is something to be mixed into the model, named in a prompt: <kind:argument:argument:name=argument>.
type Network struct {
	Kind  string            // "lora", "hypernet", …
	Args  []string          // "name", "0.8", …; at least one, or there are named ones
	Named map[string]string // "te", "unet", "dyn", …
}

// Networks takes the names of networks out of a prompt.
func Networks(text string) (rest string, networks []Network, err error) {
	if err := checkLength(text); err != nil {
		return "", nil, err
	}
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "<")
		out.WriteString(before)
		if !found {
			return out.String(), networks, nil
		}
		network, length := parseNetwork(after)
		if length == 0 {
			out.WriteByte('<')
		} else if networks = append(networks, network); len(networks) > MaxNetwork {
			return "", nil, fmt.Errorf("the prompt names more than %d networks", MaxNetwork)
		}
		text = after[length:]
	}
}

// parseNetwork reads "kind:arguments>" at the beginning of text. Without one, length is 0.
func parseNetwork(text string) (n Network, length int) {
	kind := text[:wordEnd(text)]
	arguments, ok := strings.CutPrefix(text[len(kind):], ":")
	if !ok || kind == "" {
		return n, 0
	}
	// Names are short; looking for the end of each at any distance would be quadratic.
	end := strings.IndexByte(arguments[:min(len(arguments), maxArguments)], '>')
	if end <= 0 {
		return n, 0
	}
	n = Network{Kind: kind, Named: map[string]string{}}
	for item := range strings.SplitSeq(arguments[:end], ":") {
		if name, value, named := strings.Cut(item, "="); named && !strings.Contains(value, "=") {
			n.Named[name] = value
		} else {
			n.Args = append(n.Args, item)
		}
	}
	return n, len(kind) + 1 + end + 1
}

// maxArguments is how long the arguments of a network are at most, in bytes.
const maxArguments = 1024

// wordEnd is where the word that text begins with ends.
func wordEnd(text string) int {
	for i, r := range text {
		if !isWord(r) || r == utf8.RuneError {
			return i
		}
	}
	return len(text)
}
