package main

import (
	"fmt"
	"net"

	"waggle/internal/door"
)

// rateDefault is how many requests a second each client may make of a server that others can reach.
const rateDefault = 50

// limitFlags say how much one caller may ask, and who is believed in who that is.
type limitFlags struct {
	RateLimit *float64 `name:"rate-limit" placeholder:"N" help:"Most requests a second of one client, and four times as many at once; 0 for no limit (default: 50; none on loopback)."`
	Proxies   []string `name:"trusted-proxy" env:"WAGGLE_TRUSTED_PROXY" placeholder:"ADDRESS" help:"Reverse proxy, as an address or a network like 10.0.0.0/8, whose X-Forwarded-For, -Proto and -Host are believed; repeatable."`
}

// limits puts into a door what the flags say, for a server that listens on bind.
func (c *limitFlags) limits(to *door.Config, bind string) error {
	if to.RateLimit = rateDefault; loopback(bind) {
		to.RateLimit = 0
	}
	if n := c.RateLimit; n != nil {
		if *n != 0 && !(*n >= 0.01 && *n <= 1e6) {
			return fmt.Errorf("--rate-limit %v: want 0.01 to 1000000 requests a second, or 0 for no limit", *n)
		}
		to.RateLimit = *n
	}
	for _, text := range c.Proxies {
		network, err := door.ParseProxy(text)
		if err != nil {
			return fmt.Errorf("--trusted-proxy: %w", err)
		}
		to.Proxies = append(to.Proxies, network)
	}
	return nil
}

// loopback reports whether only this machine reaches an address.
func loopback(address string) bool {
	ip := net.ParseIP(address)
	return address == "localhost" || ip != nil && ip.IsLoopback()
}
