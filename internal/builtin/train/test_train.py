"""Tests that take seconds: python -m unittest"""

import random
import re
import tempfile
import unittest
from pathlib import Path

import torch

import bpe
import denoiser
from autoencoder import encode
from checker import check
from networks import Captions, new_vae
from progress import Run
from scenes import caption, random_scene, render


class Killed(Exception):
    pass


class CheckerTest(unittest.TestCase):
    def test_true_pictures_are_right(self):
        rng = random.Random(1)
        for _ in range(50):
            scene = random_scene(rng)
            self.assertTrue(all(check(render(scene), scene).values()), scene)

    def test_other_pictures_are_wrong(self):
        rng = random.Random(2)
        for _ in range(50):
            shown, asked = random_scene(rng, kind="single"), random_scene(rng, kind="pair")
            self.assertFalse(all(check(render(shown), asked).values()), (shown, asked))


class TokenizerTest(unittest.TestCase):
    def test_caption_words_are_single_tokens_and_ids_are_the_pipelines(self):
        with tempfile.TemporaryDirectory() as folder:
            bpe.train(Path(folder))
            captions, rng = Captions(folder), random.Random(3)
            texts = [caption(rng, random_scene(rng)) for _ in range(20)] + ["An unknown word, 42 things!", ""]
            want = captions.tokenizer(texts, padding="max_length", max_length=77, truncation=True)["input_ids"]
            self.assertEqual(captions(texts).tolist(), want)
            for text, ids in zip(texts[:20], want):
                self.assertEqual(len(re.findall(r"\w+|\.", text)) + 2, ids.index(captions.end) + 1, text)


class ResumeTest(unittest.TestCase):
    """A run killed between two steps makes the same weights as one that was not."""

    def train(self, out, text_steps, joint_steps, kill_at=None):
        run = Run(out, seed=1, save_seconds=0)
        if kill_at is not None:
            self.kill(run, kill_at)
        bpe.train(out / "tokenizer", captions=2000)
        captions, rng = Captions(out / "tokenizer"), random.Random(4)
        weights = denoiser.train_text(run, captions, text_steps, batch=8)
        torch.manual_seed(5)
        scenes = [random_scene(rng) for _ in range(32)]
        pool = scenes, encode(new_vae(), scenes)
        return denoiser.train_joint(run, "obey", captions, weights, pool, joint_steps, lambda step: denoiser.OBEY)

    def kill(self, run, kill_at):
        steps = run.steps

        def killed(stage, total, rng, **parts):
            for step in steps(stage, total, rng, **parts):
                if (stage, step) == kill_at:
                    raise Killed
                yield step

        run.steps = killed

    def test_resume(self):
        for kill_at in (("text", 2), ("obey", 1)):
            with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
                want = self.train(Path(one), 4, 3)
                with self.assertRaises(Killed):
                    self.train(Path(two), 4, 3, kill_at)
                got = self.train(Path(two), 4, 3)
                for part in want:
                    for name, tensor in want[part].items():
                        self.assertTrue(torch.equal(tensor, got[part][name]), (kill_at, part, name))


if __name__ == "__main__":
    unittest.main()
