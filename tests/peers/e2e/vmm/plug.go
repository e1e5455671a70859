// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/container-orchestrated-devices/container-device-interface/pkg/cdi"
	oci "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"pgpu.local/peers/e2e/nodes"
)

// plug is cold plug, with the libraries and in the order of Kata's Go shim.
func (c *Config) plug(r *Record) (held []*os.File, err error) {
	root, err := filepath.EvalSymlinks(c.Node)
	if err != nil {
		return nil, err
	}
	if r.Names, err = c.names(r); err != nil || len(r.Names) == 0 {
		return nil, err
	}
	if err := nodes.Make(filepath.Join(root, "root")); err != nil {
		return nil, err
	}
	spec := &oci.Spec{}
	registry := cdi.GetRegistry()
	if err := registry.Refresh(); err != nil {
		return nil, fmt.Errorf("CDI refresh: %w", err)
	}
	if _, err := registry.InjectDevices(spec, r.Names...); err != nil {
		return nil, fmt.Errorf("CDI inject: %w", err)
	}
	for _, d := range spec.Linux.Devices {
		if !strings.HasPrefix(d.Path, "/dev/vfio/devices/") {
			return nil, fmt.Errorf("a confidential guest needs iommufd: %s", d.Path)
		}
		path := filepath.Join(root, "root", d.Path)
		if err := c.intrude(path); err != nil {
			return nil, err
		}
		f, err := open(path)
		if err != nil {
			return nil, err
		}
		held = append(held, f)
		r.Opened = append(r.Opened, d.Path)
	}
	return held, nil
}

// intrude is a foreign program that uses the device between its hand-over and the VM.
func (c *Config) intrude(path string) error {
	if os.Remove(c.Intruder) != nil {
		return nil
	}
	f, err := open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// names asks the kubelet for the sandbox's devices: every one of every resource of every container.
func (c *Config) names(r *Record) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := grpc.NewClient("unix://"+c.PodResources, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	q := &podresources.GetPodResourcesRequest{PodName: r.Pod, PodNamespace: r.Namespace}
	a, err := podresources.NewPodResourcesListerClient(conn).Get(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("PodResources: %w", err)
	}
	var names []string
	for _, c := range a.GetPodResources().GetContainers() {
		for _, d := range c.GetDevices() {
			for _, id := range d.GetDeviceIds() {
				// Kata 3.24 and later take "vfio" off the front of an ID.
				names = append(names, d.GetResourceName()+"="+strings.TrimPrefix(id, "vfio"))
			}
		}
	}
	return names, nil
}

// From linux/vfio.h: VFIO_TYPE ';', VFIO_BASE 100, VFIO_DEVICE_BIND_IOMMUFD +18.
const bindIommufd = ';'<<8 | (100 + 18)

// open opens the device and binds it to an iommufd, which is exclusive and resets it.
func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	arg := struct{ argsz, flags, iommufd, devid uint32 }{argsz: 16}
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), bindIommufd, uintptr(unsafe.Pointer(&arg))); e != 0 {
		f.Close()
		return nil, fmt.Errorf("bind %s: %w", path, e)
	}
	return f, nil
}
