package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"waggle/internal/door"
)

// tokenFlags are the secrets that let callers in.
type tokenFlags struct {
	// A secret may hold any character, so nothing separates two in one text.
	Tokens []string `name:"token" sep:"none" env:"WAGGLE_TOKEN,LLORCH_API_TOKEN" placeholder:"[NAME=]SECRET" help:"Bearer token, one of which every request must carry; repeatable. The queue is shared out between their names."`
}

// keys reads the tokens. Empty ones are as good as none: they come from variables that are not set.
func (f *tokenFlags) keys() (keys []door.Key, err error) {
	for i, text := range f.Tokens {
		if text == "" {
			continue
		}
		key, err := parseToken(text)
		if err != nil {
			return nil, fmt.Errorf("--token %d: %w", i+1, err)
		}
		if slices.ContainsFunc(keys, func(k door.Key) bool { return k.Secret == key.Secret }) {
			return nil, fmt.Errorf("--token %d: its secret is that of another: nobody could tell the two apart", i+1)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

var (
	namedToken = regexp.MustCompile(`(?s)^([A-Za-z0-9_-]{1,32})=(.*)$`)
	// padded is base64 as tools write it: what follows its = is no secret.
	padded = regexp.MustCompile(`^[A-Za-z0-9_-]{14,}={1,2}$`)
)

// parseToken reads NAME=SECRET or SECRET. Its errors show no secret.
func parseToken(text string) (door.Key, error) {
	found := namedToken.FindStringSubmatch(text)
	if found == nil || padded.MatchString(text) && len(text)%4 == 0 {
		return door.Key{Secret: text}, nil
	}
	if strings.Trim(found[2], "= ") == "" {
		return door.Key{}, fmt.Errorf("there is no secret behind %s=", found[1])
	}
	return door.Key{Name: found[1], Secret: found[2]}, nil
}
