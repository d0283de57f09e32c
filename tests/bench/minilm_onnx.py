"""Writes all-MiniLM-L6-v2 as an ONNX graph in the form that ONNX Runtime runs fastest.

    write("snapshot folder", "minilm.onnx")

The package index has no fp32 export of this model, so the graph is built here from the snapshot's
own weights. It is what onnxruntime.transformers.optimizer makes of a PyTorch export of BERT: the
fused operators of com.microsoft (EmbedLayerNormalization, Attention, SkipLayerNormalization,
BiasGelu), so that ONNX Runtime is measured at its best. Mean pooling and the norm are part of the
graph. inputs: ids, mask, types int32 [batch, length], padded on the right; output: f32 [batch, 384].
"""
import json
import os
import struct

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def tensors(path):
    with open(path, "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    for name, t in head.items():
        if name != "__metadata__" and t["dtype"] == "F32":
            begin, end = t["data_offsets"]
            yield name, np.frombuffer(data[begin:end], "<f4").reshape(t["shape"])


class Graph:
    def __init__(self, weights, config):
        self.weights, self.config = weights, config
        self.nodes, self.initializers = [], []

    def constant(self, name, array):
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def weight(self, name, transpose=False):
        w = self.weights[name]
        return self.constant(name, w.T if transpose else w)

    def node(self, op, inputs, outputs, domain="", **attributes):
        self.nodes.append(helper.make_node(op, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def fused(self, op, inputs, outputs, **attributes):
        return self.node(op, inputs, outputs, "com.microsoft", **attributes)

    def skip_norm(self, x, skip, at, bias, out):
        return self.fused("SkipLayerNormalization",
                          [x, skip, self.weight(at + ".LayerNorm.weight"),
                           self.weight(at + ".LayerNorm.bias"), self.weight(bias)],
                          [out], epsilon=self.config["layer_norm_eps"])

    def embed(self):
        e = "embeddings."
        self.fused("EmbedLayerNormalization",
                   ["ids", "types", self.weight(e + "word_embeddings.weight"),
                    self.weight(e + "position_embeddings.weight"),
                    self.weight(e + "token_type_embeddings.weight"),
                    self.weight(e + "LayerNorm.weight"), self.weight(e + "LayerNorm.bias"), "mask"],
                   ["x0", "lengths"], epsilon=self.config["layer_norm_eps"])
        return "x0"

    def layer(self, i, x):
        at = f"encoder.layer.{i}."
        q = [at + f"attention.self.{n}" for n in ("query", "key", "value")]
        qkv = self.constant(at + "qkv", np.concatenate(
            [self.weights[n + ".weight"].T for n in q], axis=1))
        bias = self.constant(at + "qkv.bias", np.concatenate(
            [self.weights[n + ".bias"] for n in q]))
        a = self.fused("Attention", [x, qkv, bias, "lengths"], [at + "a"],
                       num_heads=self.config["num_attention_heads"])
        out = at + "attention.output"
        a = self.node("MatMul", [a, self.weight(out + ".dense.weight", True)], [at + "ao"])
        x = self.skip_norm(a, x, out, out + ".dense.bias", at + "x1")
        up = at + "intermediate.dense"
        h = self.node("MatMul", [x, self.weight(up + ".weight", True)], [at + "up"])
        h = self.fused("BiasGelu", [h, self.weight(up + ".bias")], [at + "gelu"])
        h = self.node("MatMul", [h, self.weight(at + "output.dense.weight", True)], [at + "down"])
        return self.skip_norm(h, x, at + "output", at + "output.dense.bias", at + "x2")

    def pool(self, x):
        """Mean over the tokens that are no padding, then the unit norm."""
        axis = self.constant("axis", np.array([1], np.int64))
        last = self.constant("last", np.array([2], np.int64))
        m = self.node("Cast", ["mask"], ["mask_f"], to=TensorProto.FLOAT)
        m = self.node("Unsqueeze", [m, last], ["mask_3"])
        s = self.node("ReduceSum", [self.node("Mul", [x, m], ["kept"]), axis], ["sum"], keepdims=0)
        n = self.node("ReduceSum", [m, axis], ["count"], keepdims=0)
        mean = self.node("Div", [s, n], ["mean"])
        norm = self.node("ReduceL2", [mean], ["norm"], axes=[1], keepdims=1)
        return self.node("Div", [mean, norm], ["embedding"])


def write(folder, path):
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    weights = dict(tensors(os.path.join(folder, "model.safetensors")))
    g = Graph(weights, config)
    x = g.embed()
    for i in range(config["num_hidden_layers"]):
        x = g.layer(i, x)
    g.pool(x)
    ints = [helper.make_tensor_value_info(n, TensorProto.INT32, ["batch", "length"])
            for n in ("ids", "mask", "types")]
    out = helper.make_tensor_value_info("embedding", TensorProto.FLOAT,
                                        ["batch", config["hidden_size"]])
    graph = helper.make_graph(g.nodes, "minilm", ints, [out], g.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17),
                                                    helper.make_opsetid("com.microsoft", 1)])
    model.ir_version = 8
    onnx.save(model, path)
