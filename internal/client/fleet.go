package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"waggle/internal/job"
)

// Offers returns what a server or a queen says of the models there are, each
// once. known is false for one that does not say.
func (c *Client) Offers(ctx context.Context) (list []job.ModelInfo, known bool, err error) {
	if list, err = c.Models(ctx); !Missing(err) {
		return list, true, err
	}
	fleet, err := c.Nodes(ctx)
	if Missing(err) {
		return nil, false, nil
	}
	for _, n := range fleet.Nodes {
		for _, m := range n.Offers() {
			if !slices.ContainsFunc(list, func(have job.ModelInfo) bool { return have.Name == m.Name }) {
				list = append(list, m)
			}
		}
	}
	return list, true, err
}

// Missing reports that a server has no such route, or nothing there.
func Missing(err error) bool {
	var refused *Error
	return errors.As(err, &refused) && (refused.Status == http.StatusNotFound || refused.Status == http.StatusMethodNotAllowed)
}

// Nodes returns who computes for a server or a queen.
func (c *Client) Nodes(ctx context.Context) (list job.NodeList, err error) {
	err = c.quick(ctx, http.MethodGet, "/v1/nodes", &list)
	return list, err
}

// QueenInfo is what a queen says of herself.
type QueenInfo struct {
	Version  string   `json:"version"`
	Features []string `json:"features"`
}

// Queen returns what a queen says of herself; an error if the server is none.
func (c *Client) Queen(ctx context.Context) (q QueenInfo, err error) {
	if err = c.quick(ctx, http.MethodGet, "/v1/info", &q); err == nil && q.Features == nil {
		err = errors.New("the server is no queen: GET /v1/info tells no features")
	}
	return q, err
}

// Operate has a queen carry out an operation that has nothing but a name, and
// hands on what she says.
func (c *Client) Operate(ctx context.Context, name string, said func(Narration)) error {
	body, err := json.Marshal(map[string]string{"operation": name})
	if err != nil {
		return err
	}
	id, err := c.post(ctx, body)
	if err != nil {
		return err
	}
	for e, err := range c.Follow(ctx, id, 0, said) {
		switch {
		case err != nil:
			return err
		case e.Type == job.ErrorEvent:
			return fmt.Errorf("operation %s: %s", name, e.Message)
		}
	}
	return nil
}
