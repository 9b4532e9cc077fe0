package client

import (
	"regexp"
	"strings"
)

var userInfo = regexp.MustCompile(`//[^/?#]*@`)

// Shown is an address as it may be shown and logged: without what may be a secret in it, its user and password and its query.
func Shown(address string) string {
	address = userInfo.ReplaceAllString(address, "//…@")
	if address, _, found := strings.Cut(address, "?"); found {
		return address + "?…"
	}
	return address
}
