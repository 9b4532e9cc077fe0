package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"waggle/internal/client"
	"waggle/internal/job"
)

// fleetFlags name the server or queen that is asked about others.
type fleetFlags struct {
	Server string `default:"http://127.0.0.1:7833" env:"WAGGLE_SERVER" placeholder:"URL" help:"A queen or a server, as http://host:port or https://host:port."`
	Token  string `env:"WAGGLE_TOKEN" help:"Its bearer token."`
	JSON   bool   `name:"json" help:"Print JSON."`

	trustFlags `embed:""`
}

type nodesCommand struct {
	fleetFlags `embed:""`
}

// Run lists who computes.
func (c *nodesCommand) Run(ctx context.Context) error {
	server, err := c.connect(c.Server, c.Token)
	if err != nil {
		return err
	}
	defer server.Close()
	fleet, err := server.Nodes(ctx)
	if fleet.Problem != "" {
		fmt.Fprintln(os.Stderr, plainText(fleet.Problem))
	}
	switch {
	case client.Missing(err):
		return fmt.Errorf("%s does not tell who computes; waggle status may know more", c.Server)
	case err != nil:
		return c.unreachable(err)
	case c.JSON:
		return json.NewEncoder(os.Stdout).Encode(append([]job.NodeReport{}, fleet.Nodes...))
	case len(fleet.Nodes) == 0:
		_, err = fmt.Println("no nodes")
		return err
	}
	return writeColumns(os.Stdout, nodeRows(fleet.Nodes), terminalWidth())
}

// nodeRows are nodes as a table.
func nodeRows(nodes []job.NodeReport) [][]string {
	rows := [][]string{{"ID", "STATE", "LOAD", "MODELS", "SINCE", "HIVE", "ADDRESS", "ADAPTERS"}}
	for _, n := range nodes {
		since := ""
		if !n.Since.IsZero() {
			since = n.Since.Local().Format("2006-01-02 15:04")
		}
		rows = append(rows, []string{plainText(strings.Join(append([]string{n.ID}, n.Names...), ", ")), nodeState(n.Node), load(n.Load),
			plainText(modelNames(n.Node)), since, plainText(n.Hive), plainText(n.URL), adapters(n.Node)})
	}
	return rows
}

// nodeState is a node's state, with the reason where it takes no jobs.
func nodeState(n job.Node) string {
	switch {
	case n.Status.Available() || n.Status == "":
		return plainText(string(n.Status))
	case n.Reason == "" && n.Status == job.Starting:
		return "starting: model loading"
	case n.Reason == "":
		return plainText(string(n.Status))
	}
	return plainText(string(n.Status) + ": " + n.Reason)
}

func load(l job.Load) string {
	var parts []string
	if l.Running > 0 {
		parts = append(parts, fmt.Sprintf("%d running", l.Running))
	}
	if l.Waiting > 0 {
		parts = append(parts, fmt.Sprintf("%d waiting", l.Waiting))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func modelNames(n job.Node) string {
	var names []string
	for _, m := range n.Offers() {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}

// adapters are a node's by name, with the state of each that is not as the node is.
func adapters(n job.Node) string {
	if len(n.Devices) == 0 {
		return plainText(n.Device)
	}
	var list []string
	for _, d := range n.Devices {
		text := d.Name
		if !d.Status.Available() && d.Status != n.Status {
			text += " (" + strings.Join(slices.DeleteFunc([]string{string(d.Status), d.Reason}, func(s string) bool { return s == "" }), ": ") + ")"
		}
		list = append(list, plainText(text))
	}
	return strings.Join(list, ", ")
}

// unreachable says what to do about a server that does not answer at an address that nobody named.
func (f *fleetFlags) unreachable(err error) error {
	var refused *client.Error
	if errors.As(err, &refused) {
		return plainAnswer(err)
	}
	return fmt.Errorf("%w; name the queen or server with --server", err)
}
